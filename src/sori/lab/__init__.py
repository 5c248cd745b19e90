"""Every system on the same hours, measured alike: `study.lab`; what each may spend: `budget`; tables: `results`."""
