"""Run folders and benchmark folders: files and schema, what a record may say, and writes that are whole or not."""
