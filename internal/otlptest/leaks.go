package otlptest

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"strings"
)

// Leaks returns which of the secrets are in data: as they are, in any case, without 0x, in base64 at any offset, or in
// hexadecimal digits. A secret of less than 6 bytes is looked for as it is only.
func Leaks(data []byte, secrets ...string) []string {
	lower := bytes.ToLower(data)
	var found []string
	for _, secret := range secrets {
		if contains(data, lower, secret) {
			found = append(found, secret)
		}
	}
	return found
}

func contains(data, lower []byte, secret string) bool {
	bare := strings.TrimPrefix(strings.TrimPrefix(secret, "0x"), "0X")
	if len(secret) < 6 {
		return bytes.Contains(data, []byte(secret))
	}
	for _, text := range []string{secret, bare, hex.EncodeToString([]byte(secret))} {
		if bytes.Contains(lower, []byte(strings.ToLower(text))) {
			return true
		}
	}
	if raw, err := hex.DecodeString(bare); err == nil && len(raw) >= 6 && bytes.Contains(data, raw) {
		return true
	}
	for _, text := range []string{secret, strings.ToLower(secret), bare, strings.ToLower(bare)} {
		for offset := range 3 {
			if bytes.Contains(data, inBase64(base64.RawStdEncoding, text, offset)) ||
				bytes.Contains(data, inBase64(base64.RawURLEncoding, text, offset)) {
				return true
			}
		}
	}
	return false
}

// inBase64 is what a text looks like behind offset other bytes: the characters that depend on its neighbours are cut off.
func inBase64(encoding *base64.Encoding, text string, offset int) []byte {
	encoded := encoding.EncodeToString(append(make([]byte, offset), text...))
	first := (offset*8 + 5) / 6
	last := (offset + len(text)) * 8 / 6
	return []byte(encoded[first:last])
}
