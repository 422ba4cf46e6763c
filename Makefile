# make demo, make test: everything, on a fresh Debian machine that has Rust.

SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
PREFIX ?= /usr/local
DESTDIR ?=
# libbpf's own Makefile, run by cargo, would take these for its own.
CARGO := env -u MAKEFLAGS -u MAKEOVERRIDES -u DESTDIR -u PREFIX cargo
BUILD_PACKAGES := clang-19 libelf-dev zlib1g-dev pkg-config
RUN_PACKAGES := iproute2 util-linux
TEST_PACKAGES := keepalived tcpdump ethtool nftables bird2 frr python3-aiosmtpd openssl nginx-light dnsmasq-base redis-server postgresql python3-grpcio user-mode-linux kmod busybox-static iptables iputils-ping
BENCH_PACKAGES := wrk haproxy nginx-light libnginx-mod-stream
KERNEL_PACKAGES := qemu-system-x86 kmod busybox-static cpio

TESTS := $(notdir $(patsubst %/main.rs,%,$(wildcard tests/*/main.rs)))
# Those that mostly wait: three at a time take little of two processors.
WAITING := checks interop ipvs lan
AT_ONCE := $(shell n=$$(nproc); echo $$((n > 3 ? n : 3)))

.PHONY: docs fuzz all demo test bench kernel-test install uninstall build-deps test-deps clean

all: build-deps
	$(CARGO) build --release

build-deps:
	@$(SUDO) packaging/need $(BUILD_PACKAGES) $(RUN_PACKAGES)

test-deps: build-deps
	@$(SUDO) packaging/need $(TEST_PACKAGES)

# Two directors, three real servers, a client: real packets, a fail-over, a crash.
demo: all
	$(SUDO) target/release/evenkeel demo

# Needs root for what runs in namespaces and in the kernel; the rest is run as it is.
test: test-deps
	$(CARGO) build --workspace --all-targets
	$(CARGO) test --workspace --lib --bins
	$(SUDO) env "PATH=$$PATH" $(CARGO) test --workspace $(patsubst %,--test %,$(filter-out $(WAITING),$(TESTS)))
	$(SUDO) env "PATH=$$PATH" $(CARGO) test --workspace $(patsubst %,--test %,$(WAITING)) -- --test-threads=$(AT_ONCE)

bench: all test-deps
	@$(SUDO) packaging/need $(BENCH_PACKAGES)
	$(CARGO) build --release --manifest-path benches/Cargo.toml
	$(SUDO) benches/target/release/evenkeel-bench
	$(SUDO) benches/target/release/evenkeel-bench --vrrp
	$(SUDO) benches/target/release/evenkeel-bench --checks

# The packet path on Debian 12's kernel, under emulation.
kernel-test: test-deps
	@$(SUDO) packaging/need $(KERNEL_PACKAGES)
	$(CARGO) build --workspace --tests
	$(SUDO) tests/kernel/run

# Pages that are generated from the registry of keywords, and transcripts of diagnostics.
docs:
	EVENKEEL_BLESS=1 $(CARGO) test -q -p evenkeel-tests --test config

# The configuration language under random input, ten minutes a target.
fuzz:
	for t in lex expand check packet bfd; do fuzz/run $$t 600 || exit 1; done

install: all
	packaging/install "$(DESTDIR)" "$(PREFIX)"

uninstall:
	packaging/install --remove "$(DESTDIR)" "$(PREFIX)"

clean:
	$(CARGO) clean
