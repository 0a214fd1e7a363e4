# make            builds ./balance
# make check      the inner loop: formatting, vet, staticcheck, the fast tests
# make test       all tests
# make install    below DESTDIR and PREFIX; the unit goes where systemd looks
# make packages   dist/*.deb, *.rpm, *.apk, for GOARCH (this machine's) and VERSION (git's)
# make image      the container image "balance", with buildah

PREFIX  ?= /usr/local
DESTDIR ?=

bin      = $(DESTDIR)$(PREFIX)/bin
share    = $(DESTDIR)$(PREFIX)/share
units    = $(DESTDIR)$(PREFIX)/lib/systemd/system
doc      = $(share)/doc/balance

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
	install -d $(bin) $(units) $(doc)/docs $(doc)/examples $(share)/man/man1 $(share)/bash-completion/completions \
	  $(share)/zsh/site-functions $(share)/fish/vendor_completions.d
	install -m 755 balance $(bin)/balance
	install -m 644 cmd/balance/balance.1 $(share)/man/man1/balance.1
	install -m 644 *.md balance.toml.example $(doc)
	install -m 644 docs/*.md docs/*.png $(doc)/docs
	umask 022; cp -R examples/. $(doc)/examples
	umask 022; ./balance -completion bash >$(share)/bash-completion/completions/balance
	umask 022; ./balance -completion zsh >$(share)/zsh/site-functions/_balance
	umask 022; ./balance -completion fish >$(share)/fish/vendor_completions.d/balance.fish
	umask 022; sed 's,/usr/local/bin/balance,$(PREFIX)/bin/balance,' examples/balance.service >$(units)/balance.service

packages:
	packaging/build dist

image:
	mkdir -p packaging/image/run
	CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o packaging/image/balance ./cmd/balance
	buildah bud --format docker --tag balance packaging/image

clean:
	rm -rf balance balance-bench dist packaging/image/balance packaging/image/run

FORCE:

.PHONY: check test install packages image clean FORCE
