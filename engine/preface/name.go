package preface

// HostName returns the name that a ClientHello with these bytes names, in lower case and
// without a dot at its end; empty if no host can have it.
func HostName(b []byte) string {
	if n := len(b); n > 0 && b[n-1] == '.' {
		b = b[:n-1]
	}
	if !isHostName(b) {
		return ""
	}
	var lower [maxName]byte
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		lower[i] = c
	}
	return string(lower[:len(b)])
}

// isHostName says whether a host could have that name: labels of 1 to 63 letters,
// digits, "-" and "_" (which is in no host name of RFC 1123, but in many of the
// world), with dots between them.
func isHostName[S string | []byte](name S) bool {
	if len(name) > maxName {
		return false
	}
	label := 0
	for i := range len(name) {
		switch c := name[i]; {
		case c == '.':
			if label == 0 {
				return false
			}
			label = 0
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
			if label++; label > 63 {
				return false
			}
		default:
			return false
		}
	}
	return label > 0
}
