"""Read annotated stretches of recordings as transcripts: ELAN, Praat, Audacity, Transcriber, CHAT, subtitles."""
