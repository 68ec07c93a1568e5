# a seed gives the same text again, another gives another; greedy needs none
model m
g() { sonde generate m -p 'once upon' --max-new-tokens 12 --quiet --json "$@"; }
g --temperature 1 --seed 1 > a
g --temperature 1 --seed 1 > b
g --temperature 1 --seed 2 > c
g > d
g --seed 5 > e
cmp a b && echo same
cmp -s a c || echo other
cmp d e && echo greedy
g --temperature 1 --top-k 1 > f
cmp d f && echo "top-k 1 is greedy"
