# a capture that is missing, empty, cut or something else
t sonde info nothing.h5
: > empty.h5
t sonde info empty.h5
printf 'some text that is no HDF5 file at all\n' > text.h5
t sonde info text.h5
t sonde info nowhere
mkdir folder.h5
t sonde info folder.h5
