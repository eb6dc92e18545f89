"""Previews of files: made in a child process with bounds on memory and time, which reaches nothing else.

`make` starts the child and checks what it says; `child` is the program, `content` reads a content for it. Readers of
tables and images have executed what a file told them, so no other process of Perago reads a file of a repository for
the page. Knows no web, no repository and no template.
"""
