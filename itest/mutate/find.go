package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// mutant is one check that can be taken away.
type mutant struct {
	Key  string // file, function, kind and source: stable while lines move
	File string // from the module's root
	Line int
	Kind kind
}

type kind string

const (
	kindCheck    kind = "check"    // a condition that refuses: never true
	kindOperand  kind = "operand"  // a part of a condition: always true
	kindBoundary kind = "boundary" // < for <=, and so on
	kindError    kind = "error"    // an error that is returned: nil
)

// edit is a text that is put in at an offset of a file. Of edits at one offset those that close come first,
// the inner ones before the outer ones; then those that open, the other way round.
type edit struct {
	at, span, seq int
	open          bool
	text          string
}

// finder collects the mutants of one package and the edits that make them.
type finder struct {
	fset  *token.FileSet
	list  []mutant
	edits map[string][]edit // by file
	seen  map[string]int

	file string // from the module's root
	src  []byte
	name string // of the function
	fn   results
}

// results of a function: how many, and what it tells with the last one.
type results struct {
	count int
	tells resultKind
}

type resultKind uint8

const (
	tellsNothing resultKind = iota
	tellsError
	tellsBool
	tellsEffects
)

// find lists the mutants of the package in a directory of the module.
func find(root, dir string) (*finder, error) {
	f := &finder{fset: token.NewFileSet(), edits: map[string][]edit{}, seen: map[string]int{}}
	files, err := filepath.Glob(filepath.Join(root, dir, "*.go"))
	if err != nil {
		return nil, err
	}
	for _, path := range files {
		// What is planted for the simulation to find is in no program.
		if strings.HasSuffix(path, "_test.go") || strings.HasPrefix(filepath.Base(path), "planted_") {
			continue
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		f.file = filepath.ToSlash(filepath.Join(dir, filepath.Base(path)))
		if err := f.scan(src); err != nil {
			return nil, err
		}
	}
	return f, nil
}

func (f *finder) scan(src []byte) error {
	tree, err := parser.ParseFile(f.fset, f.file, src, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	f.src = src
	for _, d := range tree.Decls {
		fn, ok := d.(*ast.FuncDecl)
		// What only words a text for people checks nothing.
		if !ok || fn.Body == nil || fn.Name.Name == "String" || fn.Name.Name == "Error" {
			continue
		}
		f.name = fn.Name.Name
		f.function(fn.Type, fn.Body)
	}
	return nil
}

// function visits a body; functions inside of it have results of their own.
func (f *finder) function(t *ast.FuncType, body *ast.BlockStmt) {
	outer := f.fn
	f.fn = results{t.Results.NumFields(), tells(t)}
	f.statements(body.List)
	f.fn = outer
}

func tells(t *ast.FuncType) resultKind {
	if t.Results.NumFields() == 0 {
		return tellsNothing
	}
	switch last := t.Results.List[len(t.Results.List)-1].Type.(type) {
	case *ast.Ident:
		switch last.Name {
		case "error":
			return tellsError
		case "bool":
			return tellsBool
		}
	case *ast.ArrayType:
		if name, ok := last.Elt.(*ast.Ident); ok && name.Name == "Effect" {
			return tellsEffects
		}
	}
	return tellsNothing
}

func (f *finder) statements(list []ast.Stmt) {
	for _, s := range list {
		f.statement(s)
	}
}

// guarded visits statements behind a condition that was taken away already: their own returns need no more.
func (f *finder) guarded(list []ast.Stmt) {
	for _, s := range list {
		if _, ok := s.(*ast.ReturnStmt); ok {
			f.inside(s)
		} else {
			f.statement(s)
		}
	}
}

func (f *finder) statement(s ast.Stmt) {
	switch s := s.(type) {
	case *ast.IfStmt:
		f.ifStatement(s)
	case *ast.SwitchStmt:
		f.inside(s.Init)
		f.clauses(s.Body.List, s.Tag == nil)
	case *ast.TypeSwitchStmt:
		f.clauses(s.Body.List, false)
	case *ast.ReturnStmt:
		f.returned(s)
	case *ast.AssignStmt:
		for _, e := range s.Rhs {
			f.predicate(e, false)
			f.inside(e)
		}
	case *ast.BlockStmt:
		f.statements(s.List)
	case *ast.ForStmt:
		f.statements(s.Body.List)
	case *ast.RangeStmt:
		f.statements(s.Body.List)
	case *ast.LabeledStmt:
		f.statement(s.Stmt)
	case nil:
	default:
		f.inside(s)
	}
}

// inside looks for functions in something else.
func (f *finder) inside(n ast.Node) {
	if n == nil {
		return
	}
	ast.Inspect(n, func(n ast.Node) bool {
		if lit, ok := n.(*ast.FuncLit); ok {
			f.function(lit.Type, lit.Body)
			return false
		}
		return true
	})
}

func (f *finder) ifStatement(s *ast.IfStmt) {
	if s.Init != nil {
		f.inside(s.Init)
	}
	if f.refuses(s.Body.List) {
		f.alternatives(s.Cond)
		f.guarded(s.Body.List)
	} else {
		f.statements(s.Body.List)
	}
	if s.Else != nil {
		f.statement(s.Else)
	}
}

// clauses of a switch: conditions like those of an if where it has no tag; of the others the errors that
// they return.
func (f *finder) clauses(list []ast.Stmt, conditions bool) {
	for _, s := range list {
		c := s.(*ast.CaseClause)
		if !conditions || len(c.List) == 0 || !f.refuses(c.Body) {
			f.statements(c.Body)
			continue
		}
		for _, e := range c.List {
			f.alternatives(e)
		}
		f.guarded(c.Body)
	}
}

// returned visits the values of a return that no condition stands before.
func (f *finder) returned(s *ast.ReturnStmt) {
	for _, e := range s.Results {
		f.inside(e)
	}
	if len(s.Results) == 0 || len(s.Results) != f.fn.count {
		return
	}
	last := s.Results[len(s.Results)-1]
	switch f.fn.tells {
	case tellsError:
		f.errorValue(last)
	case tellsBool:
		f.predicate(last, true)
	}
}

// errorValue: the error itself, or each of several that are joined.
func (f *finder) errorValue(e ast.Expr) {
	if name, ok := e.(*ast.Ident); ok && name.Name == "nil" {
		return
	}
	if call, ok := e.(*ast.CallExpr); ok && f.text(call.Fun) == "errors.Join" {
		for _, arg := range call.Args {
			f.errorValue(arg)
		}
		return
	}
	n := f.add(kindError, e)
	f.wrap(e, fmt.Sprintf("mutantErr(%d, ", n), ")")
}

// tooling reports whether a condition is one of the bugs that are planted for the simulation to find: in a
// program it is always the same.
func (f *finder) tooling(e ast.Expr) bool {
	if u, ok := unparen(e).(*ast.UnaryExpr); ok {
		e = u.X
	}
	call, ok := unparen(e).(*ast.CallExpr)
	return ok && f.text(call.Fun) == "planted"
}

// alternatives takes away each of the reasons for which a condition refuses.
func (f *finder) alternatives(e ast.Expr) {
	if b, ok := unparen(e).(*ast.BinaryExpr); ok && b.Op == token.LOR {
		f.alternatives(b.X)
		f.alternatives(b.Y)
		return
	}
	if f.tooling(e) {
		return
	}
	n := f.add(kindCheck, e)
	f.wrap(e, "(", fmt.Sprintf(" && !mutantOn(%d))", n))
	f.parts(e)
}

// parts makes each of the conditions that must come together one that always holds.
func (f *finder) parts(e ast.Expr) {
	b, ok := unparen(e).(*ast.BinaryExpr)
	if !ok {
		return
	}
	switch b.Op {
	case token.LAND:
		f.part(b.X)
		f.part(b.Y)
	case token.LOR:
		f.alternatives(b.X)
		f.alternatives(b.Y)
	default:
		f.boundary(b)
	}
}

func (f *finder) part(e ast.Expr) {
	if f.tooling(e) {
		return
	}
	if b, ok := unparen(e).(*ast.BinaryExpr); !ok || b.Op != token.LAND {
		n := f.add(kindOperand, e)
		f.wrap(e, "(", fmt.Sprintf(" || mutantOn(%d))", n))
	}
	f.parts(e)
}

// predicate visits a value that is a condition; a single comparison only where that is all that a function
// decides.
func (f *finder) predicate(e ast.Expr, alone bool) {
	b, ok := unparen(e).(*ast.BinaryExpr)
	switch {
	case ok && b.Op == token.LAND:
		f.parts(e)
	case ok && b.Op == token.LOR:
		f.alternatives(e)
	case ok && alone && comparison(b.Op):
		f.part(e)
	}
}

func comparison(op token.Token) bool {
	return slices.Contains([]token.Token{token.EQL, token.NEQ, token.LSS, token.LEQ, token.GTR, token.GEQ}, op)
}

// boundary moves the boundary of a comparison by one.
func (f *finder) boundary(b *ast.BinaryExpr) {
	equal := fmt.Sprintf("(%s) == (%s)", f.text(b.X), f.text(b.Y))
	switch b.Op {
	case token.LSS, token.GTR:
		n := f.add(kindBoundary, b)
		f.wrap(b, "(", fmt.Sprintf(" || mutantOn(%d) && %s)", n, equal))
	case token.LEQ, token.GEQ:
		n := f.add(kindBoundary, b)
		f.wrap(b, "(", fmt.Sprintf(" && !(mutantOn(%d) && %s))", n, equal))
	}
}

func unparen(e ast.Expr) ast.Expr {
	for {
		p, ok := e.(*ast.ParenExpr)
		if !ok {
			return e
		}
		e = p.X
	}
}

// add notes a mutant and returns its number.
func (f *finder) add(k kind, e ast.Expr) int {
	key := fmt.Sprintf("%s %s %s: %s", f.file, f.name, k, strings.Join(strings.Fields(f.text(e)), " "))
	if f.seen[key]++; f.seen[key] > 1 {
		key = fmt.Sprintf("%s #%d", key, f.seen[key])
	}
	f.list = append(f.list, mutant{Key: key, File: f.file, Line: f.fset.Position(e.Pos()).Line, Kind: k})
	return len(f.list) - 1
}

func (f *finder) offset(p token.Pos) int { return f.fset.Position(p).Offset }

func (f *finder) text(n ast.Node) string { return string(f.src[f.offset(n.Pos()):f.offset(n.End())]) }

// wrap puts texts before and behind an expression.
func (f *finder) wrap(e ast.Expr, before, behind string) {
	from, to := f.offset(e.Pos()), f.offset(e.End())
	list := f.edits[f.file]
	f.edits[f.file] = append(list, edit{from, to - from, len(list), true, before}, edit{to, to - from, len(list), false, behind})
}
