package fleet

import (
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

const (
	// charactersPerToken is the usual estimate for English text and code.
	charactersPerToken = 4
	promptPreamble     = "You are a software agent. Do the task below in the given repository, on the work branch, and report what you did.\n\n"
	promptCut          = "\n[cut]"
)

// Prompt is a task as text: what, where, then the description and the context, in an order that does
// not change. It has at most t.PromptTokens tokens of four bytes; what does not fit is cut from the end.
func Prompt(t Task) string {
	limit := t.PromptTokens * charactersPerToken
	var b strings.Builder
	b.WriteString(promptPreamble)
	for _, line := range [][2]string{
		{"Task type: ", t.TaskType}, {"Repository: ", t.Repository},
		{"Base branch: ", t.BaseBranch}, {"Work branch: ", t.Branch},
	} {
		b.WriteString(line[0] + line[1] + "\n")
	}
	b.WriteString("\nTask:\n" + t.Description + "\n")
	for _, key := range slices.Sorted(maps.Keys(t.ContextOverrides)) {
		b.WriteString("\nContext " + key + ":\n" + t.ContextOverrides[key] + "\n")
	}
	return cut(b.String(), limit, promptCut)
}

// cut shortens a text to limit bytes, the mark included, without splitting a character.
func cut(s string, limit int, mark string) string {
	if len(s) <= limit {
		return s
	}
	end := max(0, limit-len(mark))
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + mark
}
