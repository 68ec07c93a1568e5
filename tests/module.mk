# Each tests/{unit,kernels,golden,abi,fault}/test_*.c is one cmocka program.
TEST_SRC := $(sort $(foreach d,unit kernels golden abi fault,$(wildcard tests/$(d)/test_*.c)))
TEST_BIN := $(TEST_SRC:%.c=$(B)/%)
SUPPORT_OBJ := $(patsubst %.c,$(B)/%.o,$(wildcard tests/support/*.c))
TEST_LIBS = $(shell pkg-config --libs cmocka 2>/dev/null) -lz
$(B)/tests/%: $(B)/tests/%.o $(SUPPORT_OBJ) $(B)/libsonde.a
	@$(if $(V),,echo '  LD      $@')
	$(Q)$(CC) $(OPT_$(CONFIG)) $(CFLAGS) $(LDFLAGS) -o $@ $< $(SUPPORT_OBJ) $(B)/libsonde.a $(LIBS) $(TEST_LIBS)
.PRECIOUS: $(B)/tests/%.o
.PHONY: tests test
## tests: builds every test program
tests: $(TEST_BIN)
## test: builds and runs every test program
test: all tests
	@for t in $(TEST_BIN); do echo "== $$t"; $$t || exit 1; done
-include $(TEST_SRC:%.c=$(B)/%.d)
