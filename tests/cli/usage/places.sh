# options before and after words, = or not, --, and a word that begins with a dash
model m
sonde points m --points embed --json > one
sonde points --json --points=embed m > two
sonde points --json=yes --points embed -- m > three
cmp one two && cmp one three && echo same
t sonde points --points embed --json=no m
t sonde points -- --json
t sonde points --points embed -- m --json
