# make            builds ./balance
# make check      the inner loop: formatting, vet, staticcheck, the fast tests
# make test       all tests
# make install    below DESTDIR and PREFIX; the unit goes where systemd looks

PREFIX  ?= /usr/local
DESTDIR ?=

bin      = $(DESTDIR)$(PREFIX)/bin
share    = $(DESTDIR)$(PREFIX)/share
units    = $(DESTDIR)$(PREFIX)/lib/systemd/system
examples = $(share)/doc/balance

# Packages whose tests need no network, or little of it, and take seconds.
fast = ./docs ./config ./engine/spec ./engine/balancer ./engine/plane ./control/counters

balance: FORCE
	go build ./cmd/balance

check:
	@unformatted=$$(gofmt -l .); [ -z "$$unformatted" ] || { echo "gofmt would change:"; echo "$$unformatted"; exit 1; }
	go vet ./...
	go tool -modfile=tools/go.mod staticcheck ./...
	go test -short $(fast)

test:
	go test ./...

install: balance
	install -d $(bin) $(units) $(examples) $(share)/man/man1 $(share)/bash-completion/completions \
	  $(share)/zsh/site-functions $(share)/fish/vendor_completions.d
	install -m 755 balance $(bin)/balance
	install -m 644 cmd/balance/balance.1 $(share)/man/man1/balance.1
	install -m 644 balance.toml.example $(examples)/balance.toml.example
	install -m 644 examples/*.toml examples/*.yml examples/mrtg.cfg $(examples)
	umask 022; ./balance -completion bash >$(share)/bash-completion/completions/balance
	umask 022; ./balance -completion zsh >$(share)/zsh/site-functions/_balance
	umask 022; ./balance -completion fish >$(share)/fish/vendor_completions.d/balance.fish
	umask 022; sed 's,/usr/local/bin/balance,$(PREFIX)/bin/balance,' examples/balance.service >$(units)/balance.service

clean:
	rm -f balance balance-bench

FORCE:

.PHONY: check test install clean FORCE
