package main

import (
	"go/ast"
	"slices"
	"strings"
)

// refusals are the names with which the packages refuse something: of functions, effects and messages.
var refusals = []string{"fail", "malformed", "rejected", "refuse", "refuseAll", "badVoucher", "badTerms", "adopt",
	"Misbehaved", "Refuse", "Alert"}

// refuses reports whether a body refuses by itself: it returns an error, false or no effects, or it uses one of the
// names above.
func (f *finder) refuses(body []ast.Stmt) (found bool) {
	for _, s := range body {
		ast.Inspect(s, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncLit, *ast.IfStmt, *ast.ForStmt, *ast.RangeStmt, *ast.SwitchStmt, *ast.TypeSwitchStmt:
				return false // conditions of their own
			case *ast.ReturnStmt:
				found = found || f.refusal(n)
			case *ast.CallExpr:
				found = found || refusalName(n.Fun)
			case *ast.CompositeLit:
				found = found || refusalName(n.Type)
			case *ast.AssignStmt:
				found = found || freezes(f, n)
			}
			return !found
		})
	}
	return found
}

func refusalName(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.Ident:
		return slices.Contains(refusals, e.Name)
	case *ast.SelectorExpr:
		return slices.Contains(refusals, e.Sel.Name)
	}
	return false
}

// freezes: a lane that takes no more payments, or a walker that found its input bad.
func freezes(f *finder, a *ast.AssignStmt) bool {
	text := f.text(a)
	return strings.Contains(text, "= Frozen") || strings.Contains(text, ".bad")
}

// refusal reports whether a return says no.
func (f *finder) refusal(s *ast.ReturnStmt) bool {
	if len(s.Results) == 0 {
		return f.fn.tells == tellsNothing // a guard that does nothing
	}
	last, _ := s.Results[len(s.Results)-1].(*ast.Ident)
	switch f.fn.tells {
	case tellsError:
		// Without an error it may still do nothing.
		first, named := s.Results[0].(*ast.Ident)
		return last == nil || last.Name != "nil" || len(s.Results) > 1 && named && first.Name == "nil"
	case tellsBool:
		return last != nil && last.Name == "false"
	case tellsEffects:
		return last != nil && last.Name == "nil"
	}
	return false
}
