LIB_SRC := $(sort $(foreach d,core kernels kernels/dtype kernels/ref kernels/x86 kernels/blas weights \
    text run store host,$(wildcard lib/$(d)/*.c)))
