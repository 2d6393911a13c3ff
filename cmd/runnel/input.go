package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/runnel/runnel/cmd/amount"
)

// takes admits between least and most arguments, says which are wanted, and then lets parse read them, so
// that a bad one is found before the daemon is asked for anything.
func takes(least, most int, parse ...func(args []string) error) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < least || len(args) > most {
			return wrongCount(cmd, args, most)
		}
		for _, p := range parse {
			if err := p(args); err != nil {
				return err
			}
		}
		return nil
	}
}

func wrongCount(cmd *cobra.Command, args []string, most int) error {
	hint := "`" + cmd.CommandPath() + " --help` shows examples"
	_, wants, _ := strings.Cut(cmd.Use, " ")
	switch {
	case len(args) <= most:
		return usage(hint, "%s needs more: %s %s", cmd.Name(), cmd.CommandPath(), wants)
	case most == 0:
		return usage(hint, "%s takes no arguments, but got %q", cmd.Name(), args[0])
	}
	return usage(hint, "%s does not know what to do with %q: %s %s", cmd.Name(), args[most], cmd.CommandPath(), wants)
}

// parsed is a flag that is read by a function.
type parsed[T any] struct {
	dst   *T
	text  string
	parse func(string) (T, error)
}

func (p *parsed[T]) String() string { return p.text }
func (p *parsed[T]) Type() string   { return "value" }

func (p *parsed[T]) Set(s string) error {
	v, err := p.parse(s)
	if err == nil {
		*p.dst, p.text = v, s
	}
	return err
}

// addFlag adds a flag that parse reads into dst. The word in backquotes in help is shown as its value.
func addFlag[T any](cmd *cobra.Command, dst *T, name, help string, parse func(string) (T, error)) {
	cmd.Flags().Var(&parsed[T]{dst: dst, parse: parse}, name, help)
	cmd.RegisterFlagCompletionFunc(name, noCompletion)
}

func feeRateFlag(cmd *cobra.Command, rate *uint64) {
	addFlag(cmd, rate, "fee-rate", "fee in `SAT/VB`, such as 1.5 (without it the chain backend is asked)", amount.ParseFeeRate)
}
