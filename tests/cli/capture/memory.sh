model m
t sonde capture m -p hi -o x.h5 --memory 1K
sonde capture m -p hi -o x.h5 --memory 4G --quiet && echo fits
