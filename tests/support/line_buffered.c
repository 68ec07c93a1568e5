/* A test that dies has told which one it was: standard output leaves line by line, also into a pipe. */
#include <stdio.h>

__attribute__((constructor)) static void buffer_lines(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
}
