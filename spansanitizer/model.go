package spansanitizer

import "strings"

// maxModelDigits bounds the digits in a model's name: a date and a version.
const maxModelDigits = 12

// isModel accepts the usual names of models, such as claude-opus-4-6 or llama3.1:8b: a name begins with the
// word for a maker or a family, and goes on with known words and short numbers. A client may send any text
// as a model's name, so nothing else may pass.
func isModel(s string) bool {
	digits, first := 0, true
	for s != "" {
		end := strings.IndexAny(s, "-._:/")
		segment, rest := s, ""
		if end >= 0 {
			segment, rest = s[:end], s[end+1:]
			if rest == "" {
				return false
			}
		}
		word := strings.TrimRight(segment, "0123456789")
		number := segment[len(word):]
		switch {
		case isModelFamily(word) && len(number) <= 2:
		case first:
			return false
		case word == "" && isModelNumber(number):
		case isModelWord(word) && len(number) <= 2:
		case isModelSize(segment):
		default:
			return false
		}
		for i := range len(segment) {
			digits += count(0, isDigit(segment[i]))
		}
		s, first = rest, false
	}
	return !first && digits <= maxModelDigits
}

// isModelNumber accepts a version of up to four digits, and a date of this century.
func isModelNumber(s string) bool {
	return s != "" && len(s) <= 4 || len(s) == maxDigits && strings.HasPrefix(s, "20")
}

// isModelSize accepts a number with a letter behind or before it: 8b, 128k, 4o, v3, r1.
func isModelSize(s string) bool {
	if len(s) < 2 || len(s) > 5 {
		return false
	}
	switch s[len(s)-1] {
	case 'b', 'k', 'm', 'o':
		return strings.Trim(s[:len(s)-1], "0123456789") == ""
	}
	switch s[0] {
	case 'v', 'r', 'k', 'a', 'o':
		return strings.Trim(s[1:], "0123456789") == ""
	}
	return false
}

func isModelFamily(s string) bool {
	switch s {
	case "anthropic", "claude", "codex", "openai", "gpt", "chatgpt", "o",
		"google", "gemini", "gemma", "meta", "llama", "codellama",
		"mistral", "mistralai", "mixtral", "codestral", "ministral", "magistral", "devstral",
		"deepseek", "qwen", "qwq", "phi", "microsoft", "grok", "xai", "command", "cohere",
		"nova", "amazon", "kimi", "moonshot", "moonshotai", "glm", "granite", "ibm", "jamba", "minimax",
		"echo", "native", "default", "unknown", "other":
		return true
	default:
		return false
	}
}

func isModelWord(s string) bool {
	switch s {
	case "opus", "sonnet", "haiku", "instant", "nano", "micro", "mini", "small", "medium", "large", "max", "ultra",
		"pro", "plus", "flash", "lite", "turbo", "preview", "latest", "exp", "experimental", "beta", "stable",
		"instruct", "chat", "coder", "code", "base", "it", "thinking", "reasoner", "reasoning", "vision", "audio",
		"realtime", "search", "fast", "high", "low", "free", "distill", "omni", "next", "oss", "text", "embedding":
		return true
	default:
		return false
	}
}
