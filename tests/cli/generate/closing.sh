# on stderr: how many tokens, how fast; nothing with --quiet
model m
sonde generate m -p 'hi' -p 'ho' --max-new-tokens 3 > lines
sonde generate m -p 'hi' --max-new-tokens 3 --quiet > text
