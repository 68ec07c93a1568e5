LIB_SRC += $(sort $(wildcard analysis/*.c))
