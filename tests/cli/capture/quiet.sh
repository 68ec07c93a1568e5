# --quiet: nothing on either stream
model m
sonde capture m -p hi -o x.h5 --quiet
