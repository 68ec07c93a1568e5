# an existing output is never overwritten without --overwrite
model m
echo mine > x.h5
t sonde capture m -p hi -o x.h5
cat x.h5
sonde capture m -p hi -o x.h5 --overwrite --quiet && sonde info x.h5 --json | grep '"sealed"'
mkdir folder.h5
t sonde capture m -p hi -o folder.h5 --overwrite
mkfifo pipe.h5
t sonde capture m -p hi -o pipe.h5 --overwrite
t sonde capture m -p hi -o ""
test -p pipe.h5 && echo "the pipe is still there"
