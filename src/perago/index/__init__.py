"""The history index: a database of a repository's commits and stamps, for one user on one host.

It is disposable. If it is missing, damaged or of another version, it is rebuilt from the history. `history` is the
door, and `results` answers an attempt's questions with it. Behind the door, `database` opens and replaces the file,
`tables` defines its content, and `adding` fills it. `claims` reads what a commit says of other commits; `standing`
decides what follows from it.

Imports ports, values, files and errors; knows no store, no attempt and no command.
"""
