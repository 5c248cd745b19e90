"""Check recordings once and write a prepared folder."""
