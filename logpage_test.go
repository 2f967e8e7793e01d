package dixie_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestLogLines: docs/observability.md explains each line that the module and its server can log, and no library logs the
// text of an error as it is.
func TestLogLines(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("docs/observability.md")
	if err != nil {
		t.Fatal(err)
	}
	lines := 0
	err = filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (path == "e2e" || path == "examples/siwe-login" ||
			strings.HasSuffix(path, "test") || strings.HasPrefix(path, ".") && path != "."):
			return fs.SkipDir
		case !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			message, arguments := logged(n)
			if message == nil {
				return true
			}
			lines++
			at := files.Position(n.Pos())
			if text, _ := strconv.Unquote(message.Value); !strings.HasPrefix(text, "[fleet]") && !strings.Contains(string(page), "`"+text) {
				t.Errorf("%s: docs/observability.md does not explain %q", at, text)
			}
			for _, argument := range arguments {
				if isRawText(argument) && !strings.HasPrefix(path, "examples/") {
					t.Errorf("%s: the text of an error is logged as it is, not by spansanitizer.TextOf", at)
				}
			}
			return true
		})
		return nil
	})
	if err != nil || lines < 70 { //nolint:mnd // There are more.
		t.Errorf("%d lines, %v", lines, err)
	}
}

// logged are the message and the rest of what a call of a logger is given, if the message is a constant.
func logged(n ast.Node) (*ast.BasicLit, []ast.Expr) {
	call, ok := n.(*ast.CallExpr)
	if !ok {
		return nil, nil
	}
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || !regexp.MustCompile(`^(Log|(Debug|Info|Warn|Error|)(Context|Attrs)?)$`).MatchString(method.Sel.Name) {
		return nil, nil
	}
	for i, argument := range call.Args {
		if literal, ok := argument.(*ast.BasicLit); ok && literal.Kind == token.STRING {
			return literal, call.Args[i+1:]
		}
	}
	return nil, nil
}

// isRawText tells whether an expression is, or holds as its last argument, a call of an Error method.
func isRawText(e ast.Expr) bool {
	call, ok := e.(*ast.CallExpr)
	if !ok {
		return false
	}
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	return method.Sel.Name == "Error" && len(call.Args) == 0 || method.Sel.Name == "String" && len(call.Args) == 2 && isRawText(call.Args[1])
}
