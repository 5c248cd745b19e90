"""Local web application: transcribe recordings in a browser, and an API that existing clients use."""
