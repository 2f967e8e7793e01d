package spansanitizer

import "strings"

// What a model's name may have of numbers, so that none that belongs to a person is among them.
const (
	// maxModelParts bounds the words and numbers of a name.
	maxModelParts = 12
	// maxModelNumbers bounds the numbers that stand by themselves, such as the 3 and the 5 of claude-3-5.
	maxModelNumbers = 2
	// maxModelDigits bounds the digits of a name without its date.
	maxModelDigits = 8
)

// isModel accepts the usual names of models, such as claude-opus-4-6 or llama3.1:8b: a name begins with the
// word for a maker or a family, and goes on with known words, sizes, two short numbers and one date of a release. A
// client may send any text as a model's name, so nothing else may pass, and no number as long as one of a person.
func isModel(s string) bool {
	var array [maxModelParts]string
	parts, ok := splitModel(array[:0], s)
	if !ok {
		return false
	}
	digits, numbers, dated := 0, 0, false
	for i := 0; i < len(parts); i++ {
		if n := modelDate(parts, i); n > 0 && !dated {
			dated = true
			i += n - 1
			continue
		}
		word := strings.TrimRight(parts[i], "0123456789")
		number := parts[i][len(word):]
		switch {
		case isModelFamily(word) && len(number) <= 2:
		case i == 0:
			return false
		case word == "":
			if len(number) == 1 && len(parts[i-1]) == 2 && parts[i-1][0] == 'v' {
				break // The 1 of v0.1 belongs to what is before it.
			}
			if len(number) > 2 {
				return false
			}
			numbers++
		case isModelWord(word) && len(number) <= 2 || isModelSize(parts[i]):
		default:
			return false
		}
		digits += countDigits(parts[i])
	}
	return digits <= maxModelDigits && numbers <= maxModelNumbers
}

// splitModel appends the parts of a name to dst, none of which may be empty.
func splitModel(dst []string, s string) ([]string, bool) {
	for {
		end := strings.IndexAny(s, "-._:/")
		if end < 0 {
			end = len(s)
		}
		if end == 0 || len(dst) == maxModelParts {
			return nil, false
		}
		dst = append(dst, s[:end])
		if end == len(s) {
			return dst, true
		}
		s = s[end+1:]
	}
}

// modelDate tells how many parts from one on, which is not the first, are the date of a release, of the years from 2020
// to 2039: 20241022, 2024-08-06, 08-2024, 2407 (July 2024), 0613 (the 13th of June) or, in the place of a date, 002, and,
// behind preview or exp, 05-20.
func modelDate(parts []string, from int) int {
	at := func(i int) string {
		if i < 0 || i >= len(parts) {
			return ""
		}
		return parts[i]
	}
	first, second := at(from), at(from+1)
	announced := at(from-1) == "preview" || at(from-1) == "exp"
	switch {
	case from == 0:
		return 0
	case isWholeDate(first):
		return 1
	case isModelYear(first) && isMonth(second) && isDay(at(from+2)):
		return 3
	case isMonth(first) && isModelYear(second), announced && isMonth(first) && isDay(second):
		return 2
	default:
		return 0
	}
}

// isWholeDate tells whether one part is a date, or the number of a release.
func isWholeDate(s string) bool {
	switch len(s) {
	case 8:
		return isModelYear(s[:4]) && isMonth(s[4:6]) && isDay(s[6:])
	case 4:
		return isMonth(s[:2]) && isDay(s[2:]) || isModelYear("20"+s[:2]) && isMonth(s[2:])
	case 3:
		return strings.HasPrefix(s, "00") && isDigit(s[2])
	default:
		return false
	}
}

func isModelYear(s string) bool {
	return len(s) == 4 && (strings.HasPrefix(s, "202") || strings.HasPrefix(s, "203")) && isDigit(s[3])
}

func isMonth(s string) bool { return len(s) == 2 && s >= "01" && s <= "12" && isDigit(s[1]) }

func isDay(s string) bool { return len(s) == 2 && s >= "01" && s <= "31" && isDigit(s[1]) }

// isModelSize accepts a number with a letter behind or before it: 8b, 128k, 4o, v3, r1, and a22b and 8x7b.
func isModelSize(s string) bool {
	if len(s) < 2 || len(s) > 5 {
		return false
	}
	front, last := s[:len(s)-1], s[len(s)-1]
	switch last {
	case 'b':
		experts, size, ok := strings.Cut(front, "x")
		if ok {
			return areDigits(experts, 2) && areDigits(size, 2)
		}
		return areDigits(strings.TrimPrefix(front, "a"), 3)
	case 'k', 'm':
		return areDigits(front, 3)
	case 'o':
		return areDigits(front, 1)
	}
	switch s[0] {
	case 'v', 'r', 'k', 'a', 'o':
		return areDigits(s[1:], 2)
	}
	return false
}

// areDigits tells whether s is one digit or more, up to a limit.
func areDigits(s string, limit int) bool {
	return s != "" && len(s) <= limit && countDigits(s) == len(s)
}

func countDigits(s string) int {
	n := 0
	for i := range len(s) {
		if isDigit(s[i]) {
			n++
		}
	}
	return n
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
		"instruct", "chat", "coder", "code", "base", "it", "r", "thinking", "reasoner", "reasoning", "vision", "audio",
		"realtime", "search", "fast", "high", "low", "free", "distill", "omni", "next", "oss", "text", "embedding":
		return true
	default:
		return false
	}
}
