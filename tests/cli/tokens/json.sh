model m
t sonde tokens m -p 'yé' -p '' --json
t sonde tokens m -p 'yé' --json --skip-special
t sonde tokens m -p 'a<x>b' --json --special text --add-bos no
t sonde tokens m -p 'a<x>b' --json --special parse --add-bos no
t sonde tokens m -p 'Hi' --json --rows 'special|pos:1..2'
