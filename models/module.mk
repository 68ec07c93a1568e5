LIB_SRC += $(sort $(wildcard models/*.c))
