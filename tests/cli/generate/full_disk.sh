# text that cannot be written ends the run and is told
model m
sonde generate m -p hi --max-new-tokens 4 --quiet > /dev/full
