# an output that cannot be written
model m
t sonde capture m -p hi -o nowhere/x.h5
t sonde capture m -p hi -o /proc/x.h5
