"""The data that crosses between processes: formats, names, codes. No behaviour, no I/O, no trio."""
