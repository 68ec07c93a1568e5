model m
t sonde capture m -p hi -o x.h5 --memory 1K
sonde capture m -p hi -o x.h5 --memory 4G --quiet && echo fits
printf "the weights stay in the file: "
sonde capture m -p hi -o y.h5 --memory 4G --off pack --quiet && sonde diff x.h5 y.h5 | tail -n 1
