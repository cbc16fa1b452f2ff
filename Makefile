# Millet. `make help` lists the targets.
#
# Objects live in build/CONFIG, one directory per configuration (release, asan, …), so configurations never mix.
# Sources are found by wildcard: a new .c in a room is built, a new tests/unit/test_*.c is run.

VERSION := $(shell cat VERSION)
PREFIX  ?= /usr/local
DESTDIR ?=
BINDIR  ?= $(PREFIX)/bin
MANDIR  ?= $(PREFIX)/share/man
TOOLS   := $(patsubst bin/%.c,%,$(filter-out $(wildcard bin/m*_*.c),$(sort $(wildcard bin/m*.c))))

CC      ?= gcc
CXX     ?= g++
AR      ?= ar
CONFIG  ?= release
ifeq ($(ASAN),1)
CONFIG  := asan
endif
B       := build/$(CONFIG)

WARNINGS := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes
CFLAGS  ?= -O2 -g
# What the sanitizer makes of memmem() reads all that is left of a text each time: quadratic in a loop over matches.
export ASAN_OPTIONS ?= intercept_memmem=0
ifeq ($(CONFIG),asan)
SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -O1
endif

PACKAGES := libarchive libxxhash jansson libutf8proc lmdb
PKG_CONFIG ?= pkg-config
# The compiler runs only when something is built, so the libraries are asked for only then (`make help` needs none).
PKG_CFLAGS = $(shell $(PKG_CONFIG) --cflags $(PACKAGES))
PKG_LIBS   = $(shell $(PKG_CONFIG) --libs $(PACKAGES))

# libFuzzer, which comes with clang: the library is built for it, each target is linked with its main().
ifeq ($(CONFIG),fuzz)
SANITIZE := -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -O1
endif

# ---- CUDA ------------------------------------------------------------------------------------------------------------
# CUDA=1: kernels/cuda by nvcc; CUDA=0: without. Unsaid, release builds have it where nvcc is found. CONFIG=emu, emu-asan
# and emu-tsan are the same programs on the emulator of tests/cuda-emu: .cu files are compiled by CXX; the objects of C
# sources are those of build/release, so only the .cu files and the tests are made anew, with the sanitizer.
NVCC      ?= $(firstword $(shell command -v nvcc 2>/dev/null) $(wildcard /usr/local/cuda/bin/nvcc))
CUDA_ARCH ?= 75 80 86 89 90 100 120
ifneq ($(filter emu emu-asan emu-tsan emu-cov,$(CONFIG)),)
override CUDA := emu
C_B      := build/release
SANITIZE_emu-asan := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -O1
SANITIZE_emu-tsan := -fsanitize=thread -O1
SANITIZE_emu-cov := --coverage -O0
SANITIZE := $(SANITIZE_$(CONFIG))
else
CUDA     ?= $(if $(filter release,$(CONFIG)),$(if $(NVCC),1,0),0)
C_B      := $(B)
C_SANITIZE = $(SANITIZE)
endif
LINK      = $(CC) $(ALL_CFLAGS)

ifeq ($(CUDA),1)
CUDA_NAMES := $(CUDA_ARCH:%=sm_%)
CUDA_HOME  := $(patsubst %/bin/,%,$(dir $(realpath $(NVCC))))
GENCODE    := $(foreach a,$(CUDA_ARCH),-gencode arch=compute_$(a),code=sm_$(a)) \
              -gencode arch=compute_$(lastword $(CUDA_ARCH)),code=compute_$(lastword $(CUDA_ARCH))
# Without exceptions, RTTI and guarded statics the host part needs no libstdc++: a C linker does.
CU_COMPILE  = $(NVCC) -std=c++17 -O2 $(GENCODE) --threads 2 -Xptxas --warn-on-spills \
              -Werror cross-execution-space-call,default-stream-launch \
              -Xcompiler -Wall,-Wextra,-fno-exceptions,-fno-rtti,-fno-threadsafe-statics,-fvisibility=hidden
CUDA_LIBS   = -L$(firstword $(wildcard $(CUDA_HOME)/lib64 $(CUDA_HOME)/targets/*/lib)) -lcudart_static -lrt
CUDA_SAYS  := with CUDA: $(NVCC), $(CUDA_NAMES)
else ifeq ($(CUDA),emu)
CUDA_NAMES := emulated
CU_COMPILE  = $(CXX) -x c++ -DCUDA_EMU -std=c++17 -Wall -Wextra -ffp-contract=off -fvisibility=hidden \
              -O2 -g $(SANITIZE) $(CU_FLAGS)
EMU_OBJ    := $(patsubst %.cc,$(B)/%.o,$(sort $(wildcard tests/cuda-emu/*.cc)))
LINK        = $(CXX) $(SANITIZE) -rdynamic -pthread
CUDA_SAYS  := with CUDA on the emulator (tests/cuda-emu)
else
CUDA_SAYS  := without CUDA$(if $(NVCC),, (no nvcc found))
endif

ALL_CFLAGS = -std=c11 -D_GNU_SOURCE -I. -Ilib -ffp-contract=off -fno-math-errno -fvisibility=hidden -pthread \
             $(WARNINGS) $(CFLAGS) $(PKG_CFLAGS)
ALL_LIBS   = $(CUDA_LIBS) $(PKG_LIBS) -ldl -lm -pthread

# ---- sources -------------------------------------------------------------------------------------------------------
LIB_SRC  := $(sort $(wildcard lib/*/*.c) $(wildcard kernels/*.c) $(wildcard kernels/*/*.c))
LIB_OBJ  := $(LIB_SRC:%.c=$(C_B)/%.o)
UNIT_SRC := $(sort $(wildcard tests/unit/test_*.c))
UNIT     := $(UNIT_SRC:tests/unit/%.c=$(B)/unit/%)
BENCH_SRC := $(sort $(wildcard tests/bench/*.c))
BENCH    := $(BENCH_SRC:tests/bench/%.c=$(B)/bench/%)
FUZZ_SRC := $(sort $(wildcard tests/fuzz/fuzz_*.c))
FUZZ     := $(FUZZ_SRC:tests/fuzz/%.c=$(B)/fuzz/%)
ARCHIVE  := $(B)/libmillet.a
TOOL_OBJ := $(patsubst %.c,$(C_B)/%.o,$(sort $(wildcard bin/tool*.c)))

# The vector kernels are one source compiled once per instruction set; the set is picked at run time.
MACHINE := $(shell $(CC) -dumpmachine 2>/dev/null)
include kernels/cpu/isa.mk
LIB_OBJ += $(ISA_OBJ)
ifneq ($(CUDA),0)
LIB_OBJ := $(filter-out $(C_B)/kernels/no_cuda.o,$(LIB_OBJ)) \
           $(patsubst %.cu,$(B)/%.o,$(sort $(wildcard kernels/cuda/*.cu)))
endif
ifeq ($(CONFIG),fuzz) # the parsers' rooms alone: kernels take minutes to build with all that
LIB_OBJ := $(filter $(B)/lib/core/% $(B)/lib/io/% $(B)/lib/text/%,$(LIB_OBJ))
endif

ifeq ($(CONFIG),release)
BIN_DIR := bin
else
BIN_DIR := $(B)/bin
endif
BINS := $(TOOLS:%=$(BIN_DIR)/%)

.PHONY: all lib tests deps check check-emu golden fuzz demo bench bench-tokenizers bench-peers bench-peers-training install uninstall clean help asan format lint
.DELETE_ON_ERROR:
.SECONDARY:
.SUFFIXES:

all: deps ## build the six tools (bin/) and the library (lib/libmillet.a)
	@$(MAKE) --no-print-directory tools

.PHONY: tools
tools: $(BINS)
ifeq ($(CONFIG),release)
tools: lib/libmillet.a
lib/libmillet.a: $(ARCHIVE)
	cp $< $@
endif

ifneq ($(C_B),$(B))
$(C_B)/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MMD -MP -c $< -o $@
endif

$(B)/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(SANITIZE) -MMD -MP -c $< -o $@

$(B)/%.o: %.cu Makefile
	@mkdir -p $(@D)
	$(CU_COMPILE) -D_GNU_SOURCE -DCUDA_ARCHITECTURES='"$(CUDA_NAMES)"' -I. -Ilib -MMD -MP -c $< -o $@

# The emulator itself is never instrumented: it tells the sanitizers what goes on.
$(B)/tests/cuda-emu/%.o: tests/cuda-emu/%.cc Makefile
	@mkdir -p $(@D)
	$(CXX) -std=c++17 -O2 -g -Wall -Wextra -I. $(if $(filter %asan,$(CONFIG)),-DEMU_ASAN) \
	    $(if $(filter %tsan,$(CONFIG)),-DEMU_TSAN) -MMD -MP -c $< -o $@

$(C_B)/version.c: VERSION Makefile
	@mkdir -p $(@D)
	printf '#include "bin/tool.h"\nconst char tool_version[] = "%s";\n' '$(VERSION)' > $@
$(C_B)/version.o: $(C_B)/version.c
	$(CC) $(ALL_CFLAGS) $(C_SANITIZE) -MMD -MP -c $< -o $@

# Changes when the library is to have other members, or members of other architectures.
$(B)/cuda.mode: FORCE
	@mkdir -p $(@D)
	@echo '$(CUDA_SAYS)' | cmp -s - $@ || { echo '$(CUDA_SAYS)' | tee $@; }
.PHONY: FORCE
$(patsubst %.cu,$(B)/%.o,$(wildcard kernels/cuda/*.cu)): $(B)/cuda.mode

$(ARCHIVE): $(LIB_OBJ) $(B)/cuda.mode
	rm -f $@
	$(AR) rcs $@ $(LIB_OBJ)

$(BINS): $(BIN_DIR)/%: $(C_B)/bin/%.o $(TOOL_OBJ) $(C_B)/version.o $(ARCHIVE) $(EMU_OBJ)
	@mkdir -p $(@D)
	$(LINK) $(C_SANITIZE) $(LDFLAGS) $(filter %.o,$^) $(ARCHIVE) -o $@ $(ALL_LIBS)

# bin/TOOL_*.c belong to TOOL.
$(foreach t,$(TOOLS),$(eval $(BIN_DIR)/$t: $(patsubst %.c,$(C_B)/%.o,$(wildcard bin/$t_*.c))))

$(B)/unit/%: $(B)/tests/unit/%.o $(EMU_OBJ) $(ARCHIVE)
	@mkdir -p $(@D)
	$(LINK) $(C_SANITIZE) $(LDFLAGS) $^ -o $@ $(ALL_LIBS)

$(B)/bench/%: $(B)/tests/bench/%.o $(EMU_OBJ) $(ARCHIVE)
	@mkdir -p $(@D)
	$(LINK) $(C_SANITIZE) $(LDFLAGS) $^ -o $@ $(ALL_LIBS)

$(B)/fuzz/%: $(B)/tests/fuzz/%.o $(ARCHIVE)
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(SANITIZE) -fsanitize=fuzzer $(LDFLAGS) $^ -o $@ $(ALL_LIBS)

tests: $(UNIT) ## build the unit tests

-include $(LIB_OBJ:.o=.d) $(UNIT_SRC:%.c=$(B)/%.d) $(BENCH_SRC:%.c=$(B)/%.d) $(FUZZ_SRC:%.c=$(B)/%.d) \
         $(patsubst %.c,$(C_B)/%.d,$(wildcard bin/m*.c)) $(TOOL_OBJ:.o=.d) $(C_B)/version.d \
         $(EMU_OBJ:.o=.d) $(B)/tests/cuda-emu/faults.d $(B)/tests/gpu/bench_gpu.d $(B)/tests/gpu/count_gpu.d

# ---- dependencies --------------------------------------------------------------------------------------------------
deps: ## install what is missing (Debian packages); does nothing when all is there
	@sh tests/deps.sh

# ---- tests ---------------------------------------------------------------------------------------------------------
# Test programs side by side.
JOBS  ?= $(shell nproc)
PROVE  = prove -j$(JOBS) $(if $(V),-v)

check: deps ## unit tests, Bats, manual-page and shell lint; ASAN=1: with sanitizers
	@$(MAKE) --no-print-directory check-built
ifeq ($(CONFIG),release)
	@$(MAKE) --no-print-directory check-emu
endif

.PHONY: check-built
check-built: tools $(UNIT) lint
	MILLET_BIN=$(abspath $(BIN_DIR)) $(PROVE) --exec '' $(sort $(UNIT))
	MILLET_BIN=$(abspath $(BIN_DIR)) $(PROVE) --exec bats $(sort $(wildcard tests/*.bats))

# ---- the CUDA engine on the emulator -----------------------------------------------------------------------------------
# Operations in three orders of threads, whose results must have equal bytes, with ASan and UBSan, and with TSan; then
# that each planted defect is noticed as it was.
EMU_UNIT := $(patsubst tests/unit/%.c,$(B)/unit/%,$(sort $(wildcard tests/unit/test_ops_*.c tests/unit/test_cuda_*.c)))
# ThreadSanitizer is 200 times slower: operations alone, and not the large cases.
TRIAL_SMALL_emu-tsan := TRIAL_SMALL=6000
ifneq ($(CONFIG),emu-tsan) # whole runs of training: what they take, and steps of several batches
EMU_UNIT += $(patsubst tests/unit/%.c,$(B)/unit/%,$(sort $(wildcard tests/unit/test_footprint*.c))) $(B)/unit/test_accumulate
endif

check-emu: ## operations of the CUDA engine on the emulator (no GPU, no CUDA needed): orders of threads, ASan, TSan
	@$(MAKE) --no-print-directory CONFIG=emu check-emu-built
	@$(MAKE) --no-print-directory CONFIG=emu-asan check-emu-built
	@$(MAKE) --no-print-directory CONFIG=emu-tsan check-emu-built
	sh tests/cuda-emu/faults.sh build

.PHONY: check-emu-built
check-emu-built: $(EMU_UNIT) $(B)/faults
ifeq ($(CONFIG),emu)
check-emu-built: tools
	TRIAL_ONLY=cuda $(PROVE) --exec 'sh tests/cuda-emu/orders.sh' $(EMU_UNIT)
	MILLET_BIN=$(abspath $(BIN_DIR)) $(PROVE) --exec bats $(sort $(wildcard tests/cuda-emu/*.bats))
else
	$(TRIAL_SMALL_$(CONFIG)) TRIAL_ONLY=cuda TSAN_OPTIONS=halt_on_error=1:atexit_sleep_ms=0 $(PROVE) --exec '' $(EMU_UNIT)
endif

cover-emu: ## lines of kernels/cuda/*.cu that those tests run, by gcov; fails below 95 %
	@$(MAKE) --no-print-directory CONFIG=emu-cov cover-emu-built

.PHONY: cover-emu cover-emu-built
cover-emu-built: $(EMU_UNIT)
	sh tests/cuda-emu/coverage.sh $(B) $(EMU_UNIT)

# ---- the CUDA engine on hardware -------------------------------------------------------------------------------------
check-gpu: ## the same tests on a GPU, with compute-sanitizer where it is installed; exit 77 without a GPU
	@$(MAKE) --no-print-directory CUDA=1 check-gpu-built

bench-gpu: ## products on a GPU beside the best cuBLAS does there; steps beside what count-gpu says
	@$(MAKE) --no-print-directory CUDA=1 $(B)/gpu/bench_gpu $(B)/gpu/count_gpu
	$(B)/gpu/bench_gpu
	$(B)/gpu/count_gpu --measure

SHAPE ?= layers=12,hidden=768,heads=12,ffn=3072
count-gpu: ## launches, bytes and least times of a step on a GPU, by counting (SHAPE=, none needed)
	@$(MAKE) --no-print-directory $(B)/gpu/count_gpu
	$(B)/gpu/count_gpu '$(SHAPE)'

.PHONY: check-gpu check-gpu-built bench-gpu count-gpu
check-gpu-built: $(filter $(B)/unit/test_ops_%,$(EMU_UNIT))
	sh tests/gpu/check.sh $^

$(B)/gpu/%: $(B)/tests/gpu/%.o $(EMU_OBJ) $(ARCHIVE)
	@mkdir -p $(@D)
	$(LINK) $(C_SANITIZE) $(LDFLAGS) $^ -o $@ $(ALL_LIBS)

$(B)/faults: $(B)/tests/cuda-emu/faults.o $(EMU_OBJ)
	$(LINK) $^ -o $@

lint: ## manual pages and shell scripts
	mandoc -Tlint -Wwarning man/*.[1-9]
	shellcheck -x .ci/run tests/*.sh tests/*/*.sh examples/*.sh

asan: ## build with AddressSanitizer and UBSan in build/asan; test with make check ASAN=1
	@$(MAKE) --no-print-directory CONFIG=asan all

bench: deps ## speed of products, forward pass, training and tokenising against this machine's peak
	@$(MAKE) --no-print-directory tools $(BENCH)
	@for b in $(BENCH); do $$b || exit 1; done

bench-tokenizers: deps ## speed against Hugging Face's tokenizers in VENV=; MODELS="DIR …": their tokenizer.json
	@test -x '$(VENV)/bin/python3' || { echo 'make bench-tokenizers needs VENV=, a virtual environment outside the' \
	    'repository: python3 -m venv DIR && DIR/bin/pip install tokenizers==0.23.3' >&2; exit 2; }
	@$(MAKE) --no-print-directory tools $(B)/bench/bench_tokenise
	'$(VENV)/bin/python3' tests/peers/bench_tokenizers.py $(MODELS)

# For the lists of packages: tests/peers/bench_peers.py.
bench-peers: deps ## beside PyTorch, ONNX Runtime, OpenVINO, CTranslate2: VENV= MODEL="TAR …" TEXTS=CSV [SHAPES= PEERS=]
	@test -x '$(VENV)/bin/python3' || { echo 'make bench-peers needs VENV=, a virtual environment outside the' \
	    'repository: see tests/peers/bench_peers.py' >&2; exit 2; }
	@test -n '$(MODEL)' -a -n '$(TEXTS)' || { echo 'make bench-peers needs MODEL=, fine-tuned classifiers, and TEXTS=' >&2; exit 2; }
	@$(MAKE) --no-print-directory tools
	'$(VENV)/bin/python3' tests/peers/bench_peers.py $(MODEL) --texts '$(TEXTS)' $(if $(SHAPES),--shape $(SHAPES)) $(PEERS)

bench-peers-training: deps ## training steps beside PyTorch's: VENV= MODEL=TAR TEXTS=CSV [PEERS=]
	@test -x '$(VENV)/bin/python3' -a -n '$(MODEL)' -a -n '$(TEXTS)' || { echo 'make bench-peers-training needs VENV=,' \
	    'MODEL= and TEXTS=: see tests/peers/bench_peers_training.py' >&2; exit 2; }
	@$(MAKE) --no-print-directory tools
	'$(VENV)/bin/python3' tests/peers/bench_peers_training.py $(firstword $(MODEL)) --texts '$(TEXTS)' $(PEERS)

golden: ## golden data made anew with VENV=, an environment with transformers (tests/golden/README)
	@test -x '$(VENV)/bin/python3' || { echo 'make golden needs VENV=: see tests/golden/README' >&2; exit 2; }
	'$(VENV)/bin/python3' tests/golden/make_models.py
	'$(VENV)/bin/python3' tests/golden/make_tokenizers.py
	'$(VENV)/bin/python3' tests/golden/make_composed.py
	'$(VENV)/bin/python3' tests/golden/make_torch_files.py
	'$(VENV)/bin/python3' tests/golden/tokenizer-bpe/make_classes.py > $(B)/byte_level_table.h
	mv $(B)/byte_level_table.h lib/text/byte_level_table.h
	'$(VENV)/bin/python3' tests/golden/tokenizer-bpe/make_golden.py
	@$(MAKE) --no-print-directory tools
	PATH='$(abspath bin)':"$$PATH" '$(VENV)/bin/python3' tests/golden/tokenizer-learn/make_golden.py
	'$(VENV)/bin/python3' tests/golden/make_fuzz_seeds.py

SECONDS ?= 600
ONLY    ?= $(FUZZ_SRC:tests/fuzz/fuzz_%.c=%)
fuzz: deps ## libFuzzer (clang), SECONDS=600 for each parser; ONLY="safetensors table" for some
	@$(MAKE) --no-print-directory CC=clang CONFIG=fuzz fuzz-built

.PHONY: fuzz-built
fuzz-built: $(ONLY:%=$(B)/fuzz/fuzz_%)
	sh tests/fuzz/run.sh $(B) $(SECONDS) $(ONLY)

demo: all ## the whole pipeline on Marathi emoji names, from text to a table
	sh examples/emoji-demo.sh

# ---- the rest ------------------------------------------------------------------------------------------------------
install: all ## programs and manual pages into DESTDIR PREFIX
	install -d '$(DESTDIR)$(BINDIR)' '$(DESTDIR)$(MANDIR)/man1' '$(DESTDIR)$(MANDIR)/man5' '$(DESTDIR)$(MANDIR)/man7'
	install -m 755 $(BINS) '$(DESTDIR)$(BINDIR)'
	for s in 1 5 7; do install -m 644 man/*.$$s '$(DESTDIR)$(MANDIR)/man'$$s || exit 1; done

uninstall: ## remove what install put there
	for t in $(TOOLS); do rm -f '$(DESTDIR)$(BINDIR)'/$$t; done
	for p in man/*.[157]; do rm -f '$(DESTDIR)$(MANDIR)/man'$${p##*.}/$${p##*/}; done

format: ## clang-format all sources
	clang-format -i $(shell git ls-files '*.c' '*.h' '*.cu' '*.cc')

clean: ## remove everything that was built
	rm -rf build lib/libmillet.a $(TOOLS:%=bin/%)

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' Makefile
