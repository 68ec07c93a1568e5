# rows and points that keep nothing of the whole run
model m
t sonde capture m -p hi -o x.h5 --rows generated
t sonde capture m -p hi -p hello -o x.h5 --rows 'pos:60..63'
t sonde capture m -p hi -o x.h5 --rows 'first:0'
t sonde capture m -p hi -o x.h5 --points ''
ls
