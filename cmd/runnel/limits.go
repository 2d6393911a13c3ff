package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/cmd/amount"
	"github.com/runnel/runnel/policy"
)

const limitsHelp = `What this node may pay without asking, and what it takes from peers; with what
is used of it now. Tiny payments are made or refused and never asked about;
those above approve-above wait for ` + "`runnel approve`" + `; none is above max-payment.
Budgets hold over everything, approved or not. A clock that is set back refills
nothing.

` + "`runnel limits NAME`" + ` explains one. What is set here holds over
restarts, above the configuration of runneld.`

func limitsCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "limits [NAME]",
		Short: "Show and set what the node may do without asking",
		Long:  limitsHelp,
		Example: `  runnel limits
  runnel limits set budget-per-day 50_000sat
  runnel limits preset strict
  runnel limits reset budget-per-day`,
		Args: takes(0, 1, func(args []string) error {
			if len(args) == 1 && !slices.Contains(limitNames(), args[0]) {
				return noLimit(args[0])
			}
			return nil
		}),
		ValidArgsFunction: firstOf(limitNames()),
		RunE:              a.verb(func(c *call) error { return c.showLimit(strings.Join(c.args, "")) }),
	}
	cmd.AddCommand(limitsSetCommand(a), limitsResetCommand(a), limitsPresetCommand(a))
	return cmd
}

func limitsSetCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "set NAME VALUE",
		Short: "Set one limit: an amount, a number, a size, or none",
		Example: `  runnel limits set approve-above 5_000sat
  runnel limits set peer-budget-per-day none
  runnel limits set new-peer-blocks 1008`,
		Args:              takes(2, 2),
		ValidArgsFunction: firstOf(limitNames()),
		RunE: a.verb(func(c *call) error {
			value, err := parseLimit(c.args[0], c.args[1])
			if err != nil {
				return err
			}
			if err := c.node.SetLimit(c.ctx, c.args[0], value); err != nil {
				return err
			}
			return c.showLimit(c.args[0])
		}),
	}
}

func limitsResetCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "reset [NAME]",
		Short:             "Give one limit, or all, back to the configuration",
		Example:           "  runnel limits reset budget-per-day\n  runnel limits reset",
		Args:              takes(0, 1),
		ValidArgsFunction: firstOf(limitNames()),
		RunE: a.verb(func(c *call) error {
			name := strings.Join(c.args, "")
			if err := c.node.ResetLimit(c.ctx, name); err != nil {
				return err
			}
			return c.showLimit(name)
		}),
	}
}

const presetHelp = `Set all limits about spending at once:

  strict   asks about everything but tips, and about every coin sent on the chain
  default  as the configuration and the network say
  lax      for an owner who watches the node, or whose programs move much

What is taken from peers stays as it is. ` + "`runnel limits`" + ` shows the figures.`

func limitsPresetCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "preset strict|default|lax",
		Short:             "Set all limits about spending at once",
		Long:              presetHelp,
		Example:           "  runnel limits preset strict",
		Args:              takes(1, 1),
		ValidArgsFunction: firstOf(policy.Presets()),
		RunE: a.verb(func(c *call) error {
			if err := c.node.ApplyPreset(c.ctx, c.args[0]); err != nil {
				return err
			}
			return c.showLimit("")
		}),
	}
}

// firstOf completes the first argument from a fixed list.
func firstOf(words []string) completion {
	return func(_ *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return startingWith(words, typed), cobra.ShellCompDirectiveNoFileComp
	}
}

func limitNames() (names []string) {
	for _, s := range policy.Settings() {
		names = append(names, s.Name)
	}
	return names
}

func noLimit(name string) error {
	return usage("`runnel limits` lists them", "there is no limit %q", name)
}

// parseLimit reads a limit's figure in its unit.
func parseLimit(name, text string) (uint64, error) {
	s, err := policy.SettingNamed(name)
	if err != nil {
		return 0, noLimit(name)
	}
	if text == "none" && s.Most() != 0 {
		return s.Most(), nil
	}
	switch s.Unit {
	case policy.UnitMsat:
		v, err := amount.ParseOrZero(text)
		return uint64(v), err
	case policy.UnitSat:
		v, err := amount.ParseSatOrZero(text)
		return uint64(v), err
	case policy.UnitBytes:
		return parseSize(text)
	}
	v, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return 0, usage(fmt.Sprintf("for example: runnel limits set %s 10", name), "%q is not a whole number", text)
	}
	return v, nil
}

func parseSize(text string) (uint64, error) {
	shift, digits := 20, strings.TrimSuffix(text, "MB")
	if digits == text {
		shift, digits = 30, strings.TrimSuffix(text, "GB")
	}
	v, err := strconv.ParseUint(digits, 10, 20)
	if err != nil || digits == text {
		return 0, usage("write 256MB or 2GB", "%q is not a size", text)
	}
	return v << shift, nil
}

// showLimit prints one limit as it is now, or with "" all.
func (c *call) showLimit(name string) error {
	limits, err := c.node.Limits(c.ctx)
	if err != nil {
		return err
	}
	var shown []channel.LimitInfo
	for _, l := range limits {
		if name == "" || l.Name == name {
			shown = append(shown, l)
		}
	}
	return showAll(c.app, each(shown, viewLimit), func(u *ui) { printLimits(u, shown) })
}

func printLimits(u *ui, limits []channel.LimitInfo) {
	t := table{head: []string{"LIMIT", ">IS", ">USED", ""}}
	for _, l := range limits {
		used, own := "", ""
		if l.Uses {
			used = policy.Show(l.Name, l.Used)
		}
		if l.Own {
			own = "set"
		}
		t.add("", l.Name, l.Text, used, own)
	}
	t.print(u)
	if len(limits) == 1 {
		u.line("%s", u.dim(limits[0].Help))
	}
}

type limitView struct {
	Name string `json:"name"`
	Unit string `json:"unit"`
	Is   uint64 `json:"figure"`
	Text string `json:"text"`
	Own  bool   `json:"own"`
	Used uint64 `json:"used"`
}

func viewLimit(l channel.LimitInfo) limitView {
	return limitView{l.Name, l.Unit, l.Value, l.Text, l.Own, l.Used}
}
