# isa.mk: the vector kernels (kernels/cpu/isa/*.c) are compiled once per instruction set, with ISA=name defined; symbols
# carry the name, and kernels/cpu/ picks a set at run time. Elsewhere than on x86-64 only the portable set exists. The set
# avx512bf16 is avx512 with two files of its own.
ISA_BF16 := kernels/cpu/isa/product_bf16 kernels/cpu/isa/dense_bf16
ISA_SRC := $(filter-out $(ISA_BF16:%=%.c),$(sort $(wildcard kernels/cpu/isa/*.c)))
ifneq ($(filter x86_64%,$(MACHINE)),)
ISA_SETS := portable avx2 avx512
else
ISA_SETS := portable
endif
ISA_FLAGS_portable :=
ISA_FLAGS_avx2     := -mavx2 -mfma -mf16c
ISA_FLAGS_avx512   := -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni -mfma -mf16c -mprefer-vector-width=512
ISA_FLAGS_avx512bf16 := $(ISA_FLAGS_avx512) -mavx512bf16
ISA_OBJ := $(foreach set,$(ISA_SETS),$(ISA_SRC:%.c=$(C_B)/%.$(set).o))
ifneq ($(filter avx512,$(ISA_SETS)),)
ISA_OBJ += $(ISA_BF16:%=$(C_B)/%.avx512bf16.o)
endif

define ISA_RULE
$(C_B)/kernels/cpu/isa/%.$(1).o: kernels/cpu/isa/%.c Makefile kernels/cpu/isa.mk
	@mkdir -p $$(@D)
	$$(CC) $$(ALL_CFLAGS) $$(C_SANITIZE) -O3 $(ISA_FLAGS_$(1)) -DISA=$(1) -MMD -MP -c $$< -o $$@
endef
$(foreach set,$(ISA_SETS) avx512bf16,$(eval $(call ISA_RULE,$(set))))
