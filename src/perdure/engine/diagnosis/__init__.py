"""Why an instance is not finished: one sentence, since when, what happens next, and the command that moves it.

`causes` is the table of all causes; `reading` reads, `findings` decides which cause it is, `walk` follows it to whoever
holds the instance, `sentences` puts it into words, and `survey` does so for all unfinished instances. Nothing is loaded
with the room itself, because a command needs no more of it than `words`.
"""
