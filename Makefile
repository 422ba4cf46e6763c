# The commands of this repository. `make` alone lists them.

SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
PREFIX ?= /usr/local
DESTDIR ?=
# cargo's output directory, which the environment may set.
TARGET_DIR = $(or $(CARGO_TARGET_DIR),target)
BENCH_TARGET_DIR = $(or $(CARGO_TARGET_DIR),benches/target)
# libbpf's own Makefile, which cargo runs, would take these variables for its own.
CARGO := env -u MAKEFLAGS -u MAKEOVERRIDES -u DESTDIR -u PREFIX cargo
# The same as root, with the variables of $(1).
ROOT_CARGO = $(SUDO) env -u MAKEFLAGS -u MAKEOVERRIDES -u DESTDIR -u PREFIX "PATH=$$PATH" "CARGO_TARGET_DIR=$(TARGET_DIR)" $(1) cargo
BUILD_PACKAGES := clang-19 libelf-dev zlib1g-dev pkg-config binutils
RUN_PACKAGES := iproute2 util-linux
TEST_PACKAGES := bpftool keepalived tcpdump ethtool nftables bird2 frr python3-aiosmtpd openssl nginx-light dnsmasq-base redis-server postgresql python3-grpcio user-mode-linux kmod busybox-static iptables iputils-ping
BENCH_PACKAGES := wrk haproxy nginx-light libnginx-mod-stream
KERNEL_PACKAGES := qemu-system-x86 kmod busybox-static cpio

TESTS := $(notdir $(patsubst %/main.rs,%,$(wildcard tests/*/main.rs)))
# These tests mostly wait; three at a time leave two processors room.
WAITING := checks interop ipvs lan
AT_ONCE := $(shell n=$$(nproc); echo $$((n > 3 ? n : 3)))

.DEFAULT_GOAL := help
.PHONY: help build build-deps test-deps demo test test-one seed recording bench bench-row kernel-test docs fuzz dist install uninstall clean

help: ## list these commands
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | awk -F'\t' '{ printf "make %-13s %s\n", $$1, $$2 }'

build: build-deps ## build the programs (release), stripped, with their debug information beside them
	$(CARGO) build --release
	packaging/split-debug "$(TARGET_DIR)/release" "$(TARGET_DIR)/stripped" evenkeeld evenkeel

build-deps: ## install what the build needs
	@$(SUDO) packaging/need $(BUILD_PACKAGES) $(RUN_PACKAGES)

test-deps: build-deps ## install what the tests need
	@$(SUDO) packaging/need $(TEST_PACKAGES)

demo: build ## two directors, three real servers and a client in namespaces: traffic, a fail-over, a crash
	$(SUDO) "$(TARGET_DIR)/release/evenkeel" demo

test: test-deps ## build and run every test; what uses namespaces and the kernel runs as root
	$(CARGO) build --workspace --all-targets
	$(CARGO) test --workspace --lib --bins
	$(call ROOT_CARGO) test --workspace $(patsubst %,--test %,$(filter-out $(WAITING),$(TESTS)))
	$(call ROOT_CARGO) test --workspace $(patsubst %,--test %,$(WAITING)) -- --test-threads=$(AT_ONCE)

test-one: build-deps ## run the tests of one name: make test-one TEST=lan NAME=failover (TEST: a folder of tests/, or a crate)
	@test -n "$(TEST)" || { echo "usage: make test-one TEST=FOLDER|CRATE [NAME=PART_OF_A_NAME]; folders: $(TESTS)" >&2; exit 2; }
	$(CARGO) build --workspace
	$(call ROOT_CARGO) test $(if $(filter $(TEST),$(TESTS)),-p evenkeel-tests --test $(TEST),-p $(TEST)) -- --nocapture $(NAME)

seed: build-deps ## replay one seed: make seed SEED=17 [TEST=sim|conformance]
	@test -n "$(SEED)" || { echo "usage: make seed SEED=NUMBER [TEST=sim|conformance]" >&2; exit 2; }
	$(call ROOT_CARGO,EVENKEEL_SEED="$(SEED)") test -p evenkeel-tests --test $(or $(TEST),sim) -- --nocapture $(if $(filter conformance,$(TEST)),random_histories,after_every_heal)

recording: build-deps ## replay one recording of keepalived or IPVS: make recording TEST=checks|wire|ipvs|conformance RECORDING=http_11
	@test -n "$(TEST)" -a -n "$(RECORDING)" || { echo "usage: make recording TEST=checks|wire|ipvs|conformance RECORDING=PART_OF_A_NAME" >&2; exit 2; }
	$(CARGO) build --workspace
	$(call ROOT_CARGO,EVENKEEL_RECORDING="$(RECORDING)") test -p evenkeel-tests --test $(TEST) -- --nocapture record

bench: build test-deps ## run every benchmark
	@$(SUDO) packaging/need $(BENCH_PACKAGES)
	$(CARGO) build --release --manifest-path benches/Cargo.toml
	$(SUDO) "$(BENCH_TARGET_DIR)/release/evenkeel-bench"
	$(SUDO) "$(BENCH_TARGET_DIR)/release/evenkeel-bench" --vrrp
	$(SUDO) "$(BENCH_TARGET_DIR)/release/evenkeel-bench" --checks

bench-row: build-deps ## run one row of the packet path's benchmark: make bench-row ROW="DR, 1 flow" (ROW=list names them)
	$(CARGO) build --release --manifest-path benches/Cargo.toml
	$(SUDO) "$(BENCH_TARGET_DIR)/release/evenkeel-bench" $(if $(filter list,$(ROW)),--list,--row "$(ROW)")

kernel-test: test-deps ## run the packet path's tests on Debian 12's kernel (6.1) under QEMU
	@$(SUDO) packaging/need $(KERNEL_PACKAGES)
	$(CARGO) build --workspace --all-targets
	$(SUDO) env "CARGO_TARGET_DIR=$(TARGET_DIR)" tests/kernel/run

docs: ## write the generated pages (keywords, man page) and the transcripts of diagnostics
	EVENKEEL_BLESS=1 $(CARGO) test -q -p evenkeel-tests --test config

fuzz: ## fuzz the configuration language and the packet parsers, ten minutes a target
	for t in lex expand check packet bfd; do fuzz/run $$t 600 || exit 1; done

dist: build ## make the release archive in dist/: programs, debug information, units, pages, checksums
	packaging/dist "$(TARGET_DIR)/stripped"

install: ## install what `make build` has built (PREFIX, DESTDIR)
	packaging/install "$(TARGET_DIR)/stripped" "$(DESTDIR)" "$(PREFIX)"

uninstall: ## remove what `make install` has installed
	packaging/install --remove "$(DESTDIR)" "$(PREFIX)"

clean: ## remove what cargo has built
	$(CARGO) clean
