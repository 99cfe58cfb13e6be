"""Images of other programs: one module reads each program's notes, and all answer in the same form."""
