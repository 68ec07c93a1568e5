# Each tests/{unit,kernels,golden,abi,fault}/test_*.c is one cmocka program; scripts report as run.py says.
TEST_SRC := $(sort $(foreach d,unit kernels golden abi fault,$(wildcard tests/$(d)/test_*.c)))
TEST_BIN := $(TEST_SRC:%.c=$(B)/%)
TEST_SCRIPTS := $(wildcard tests/cli/run.sh tests/python/run.sh tests/install/run.sh) \
                $(sort $(wildcard tests/golden/check_*.py)) tools/check_deps.py tools/config_keys.py
SUPPORT_OBJ := $(patsubst %.c,$(B)/%.o,$(wildcard tests/support/*.c))
# Small programs that test scripts call.
TOOL_BIN := $(patsubst %.c,$(B)/%,$(wildcard tests/python/*.c) tests/golden/family_table.c)
TEST_LIBS := $(shell pkg-config --libs cmocka zlib 2>/dev/null)
$(TEST_BIN) $(TOOL_BIN): %: %.o $(SUPPORT_OBJ) $(B)/libsonde.a
	@$(if $(V),,echo '  LD      $@')
	$(Q)$(CC) $(OPT_$(CONFIG)) $(CFLAGS) $(LDFLAGS) -o $@ $(filter %.o,$^) $(B)/libsonde.a $(LIBS) $(TEST_LIBS)
$(B)/tests/unit/test_diff: $(B)/tests/unit/diff_fake_reader.o

# Plugins that only tests load, and the program that any plugin can be checked with.
ABI_PLUGINS := $(patsubst %.c,$(B)/%.so,$(wildcard tests/abi/plugins/*.c)) \
               $(B)/probes/template/row_norm.so
$(filter $(B)/tests/%,$(ABI_PLUGINS)): %.so: %.o
	@$(if $(V),,echo '  LD      $@')
	$(Q)$(CC) -shared $(OPT_$(CONFIG)) $(CFLAGS) $(LDFLAGS) -o $@ $< -lm
CONFORMANCE := $(B)/tests/abi/conformance
CONFORMANCE_OBJ := $(patsubst %.c,$(B)/%.o,$(wildcard tests/abi/conformance*.c))
$(CONFORMANCE): $(CONFORMANCE_OBJ) $(B)/libsonde.a
	@$(if $(V),,echo '  LD      $@')
	$(Q)$(CC) $(OPT_$(CONFIG)) $(CFLAGS) $(LDFLAGS) -o $@ $(CONFORMANCE_OBJ) $(B)/libsonde.a $(LIBS)

# Fuzz targets run their seeds once in every build; clang's libFuzzer runs them in build/fuzz.
FUZZ_SRC := $(sort $(wildcard tests/fuzz/fuzz_*.c))
FUZZ_BIN := $(FUZZ_SRC:%.c=$(B)/%)
FUZZ_MAIN := $(if $(filter fuzz,$(CONFIG)),,$(B)/tests/fuzz/replay.o)
$(FUZZ_BIN): %: %.o $(FUZZ_MAIN) $(B)/libsonde.a
	@$(if $(V),,echo '  LD      $@')
	$(Q)$(CC) $(OPT_$(CONFIG)) $(if $(FUZZ_MAIN),,-fsanitize=fuzzer) $(CFLAGS) $(LDFLAGS) -o $@ $< $(FUZZ_MAIN) $(B)/libsonde.a $(LIBS)

.PHONY: tests test check check-run check-all fuzz fuzz-run
## tests: builds every test program
tests: $(TEST_BIN) $(TOOL_BIN) $(FUZZ_BIN) $(CONFORMANCE) $(ABI_PLUGINS)
RUN_TESTS = B='$(B)' CC='$(CC)' MAKE='$(MAKE)' CONFIG='$(CONFIG)' $(PYTHON) tests/run.py --jobs $(JOBS) --build $(B)
## test: builds and runs the test programs (TESTS='build/release/tests/unit/test_x ...' for some)
TESTS ?= $(TEST_BIN) $(FUZZ_BIN)
test: all tests
	@$(RUN_TESTS) $(TESTS)
## check: installs what is missing, builds, runs every test; ends with 'N passed, N failed'
check:
	@$(DEPS) build test
	@$(REMAKE) all tests
	@$(REMAKE) check-run
check-run:
	@$(RUN_TESTS) $(TEST_BIN) $(FUZZ_BIN) $(TEST_SCRIPTS)

## family-table: brings the README's table of families up to date with the code
.PHONY: family-table
family-table: $(B)/tests/golden/family_table
	@BUILD='$(B)' $(PYTHON) tests/golden/check_family_table.py --write

## check-all: check with gcc and clang, the sanitizers, a minute of each fuzz target, long goldens
check-all:
	@$(DEPS) build test fuzz
	$(REMAKE) check WERROR=1 SONDE_LONG=1
	$(REMAKE) check WERROR=1 CC=clang B=build/clang
	$(REMAKE) all test CONFIG=asan WERROR=1
	$(REMAKE) all test CONFIG=tsan WERROR=1
	$(REMAKE) fuzz FUZZ_SECONDS=60

FUZZ_SECONDS ?= 600
FUZZ ?= $(notdir $(FUZZ_SRC:.c=))
## fuzz: clang's libFuzzer on each target (FUZZ=fuzz_gguf, FUZZ_SECONDS=600)
fuzz:
	@$(DEPS) build fuzz
	@$(REMAKE) CC=clang CONFIG=fuzz $(FUZZ:%=build/fuzz/tests/fuzz/%)
	@$(REMAKE) CC=clang CONFIG=fuzz fuzz-run
fuzz-run:
	@for target in $(FUZZ); do \
	    sh tests/fuzz/run.sh $(B) $$target $(FUZZ_SECONDS) || exit 1; done

-include $(TEST_SRC:%.c=$(B)/%.d) $(TOOL_BIN:=.d) $(FUZZ_SRC:%.c=$(B)/%.d) $(SUPPORT_OBJ:.o=.d) \
         $(CONFORMANCE_OBJ:.o=.d) $(ABI_PLUGINS:.so=.d) $(B)/tests/unit/diff_fake_reader.d

# Each tests/bench/bench_*.c is one program; what else lies there they share.
BENCH_SRC := $(sort $(wildcard tests/bench/bench_*.c))
BENCH_BIN := $(BENCH_SRC:%.c=$(B)/%)
BENCH_OBJ := $(patsubst %.c,$(B)/%.o,$(filter-out $(BENCH_SRC),$(wildcard tests/bench/*.c))) \
             $(B)/tests/support/linear_case.o
$(BENCH_BIN): %: %.o $(BENCH_OBJ) $(B)/libsonde.a
	@$(if $(V),,echo '  LD      $@')
	$(Q)$(CC) $(OPT_$(CONFIG)) $(CFLAGS) $(LDFLAGS) -o $@ $< $(BENCH_OBJ) $(B)/libsonde.a $(LIBS) $(TEST_LIBS)
.PHONY: bench-kernels bench-codec bench-text bench-capture
## bench-capture: what a capture costs over paired runs (MODEL=folder; wants a quiet machine)
bench-capture: $(B)/tests/bench/bench_capture
	@$< $(if $(MODEL),--model $(MODEL))
## bench-text: MB/s of tokenizers of each kind, on one core
bench-text: $(B)/tests/bench/bench_text
	@$<
## bench-codec: rates and ratios of the chunk codecs, on one core
bench-codec: $(B)/tests/bench/bench_codec
	@$<
.PHONY: bench-programs
## bench-programs: builds the benchmarks (tests/bench/README.md; peers.py there times other people's tools)
bench-programs: $(BENCH_BIN)
## bench-kernels: builds and runs the benchmarks of the kernels (minutes; wants a quiet machine)
bench-kernels: $(BENCH_BIN)
	@for t in $(BENCH_BIN); do echo "== $$t"; $$t || exit 1; done
$(B)/tests/bench/bench_capture: | $(B)/tests/abi/plugins/visit.so $(B)/probes/capture.so
-include $(BENCH_SRC:%.c=$(B)/%.d) $(BENCH_OBJ:.o=.d)
