package preface

import "testing"

func TestReadPostgres(t *testing.T) {
	const gssenc = "\x00\x00\x00\x08\x04\xd2\x16\x30"
	for _, test := range []struct {
		name    string
		bytes   string
		want    Request
		decided int
	}{
		{"SSLRequest", SSLRequestMessage, SSLRequest, 8},
		{"SSLRequest, and what must not be behind it", SSLRequestMessage + "\x16\x03\x01", SSLRequest, 8},
		{"GSSENCRequest", gssenc, GSSENCRequest, 8},
		{"GSSENCRequest, and an SSLRequest", gssenc + SSLRequestMessage, GSSENCRequest, 8},
		{"CancelRequest", "\x00\x00\x00\x10\x04\xd2\x16\x2e\x00\x00\x00\x01\x00\x00\x00\x02", NoRequest, 4},
		{"StartupMessage", "\x00\x00\x00\x21\x00\x03\x00\x00user\x00postgres\x00\x00", NoRequest, 4},
		{"short StartupMessage", "\x00\x00\x00\x08\x00\x03\x00\x00", NoRequest, 5},
		{"another code", "\x00\x00\x00\x08\x04\xd2\x16\x31", NoRequest, 8},
		{"ClientHello", "\x16\x03\x01", NoRequest, 1},
		{"HTTP", "GET / HTTP/1.1\r\n\r\n", NoRequest, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			for n := range len(test.bytes) + 1 {
				got, err := ReadPostgres([]byte(test.bytes[:n]))
				if n < test.decided && (got != NoRequest || err != ErrShort) || n >= test.decided && (got != test.want || err != nil) {
					t.Fatalf("the first %d bytes, of which %d decide: %v, %v", n, test.decided, got, err)
				}
			}
		})
	}
	if len(SSLRequestMessage) != PostgresSize || len(gssenc) != PostgresSize {
		t.Error("not of PostgresSize")
	}
}
