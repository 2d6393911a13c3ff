package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// helpWidth fits every terminal.
const helpWidth = 80

// printUsage writes what follows a command's description.
func printUsage(cmd *cobra.Command) error {
	w := cmd.OutOrStderr()
	line := cmd.UseLine()
	if cmd.HasAvailableSubCommands() {
		line = cmd.CommandPath() + " COMMAND"
	}
	fmt.Fprintf(w, "Usage:\n  %s\n", line)
	if cmd.Example != "" {
		fmt.Fprintf(w, "\nExamples:\n%s\n", cmd.Example)
	}
	printCommands(w, cmd)
	printFlags(w, "Flags", cmd.LocalNonPersistentFlags().FlagUsagesWrapped(helpWidth))
	printFlags(w, "Global flags", cmd.Root().PersistentFlags().FlagUsagesWrapped(helpWidth))
	return nil
}

func printCommands(w io.Writer, cmd *cobra.Command) {
	if !cmd.HasAvailableSubCommands() {
		return
	}
	print := func(title, group string) {
		fmt.Fprintf(w, "\n%s\n", title)
		for _, c := range cmd.Commands() {
			if c.GroupID == group && (c.IsAvailableCommand() || c.Name() == "help") {
				fmt.Fprintf(w, "  %s %s\n", pad(c.Name(), cmd.Commands()[0].NamePadding(), false), c.Short)
			}
		}
	}
	for _, g := range cmd.Groups() {
		print(g.Title, g.ID)
	}
	print("More:", "")
}

// printFlags leaves away what pflag says about switches, and keeps the columns.
func printFlags(w io.Writer, title, flags string) {
	if flags == "" {
		return
	}
	const noise = "[=true|false]"
	fmt.Fprintf(w, "\n%s:\n%s", title, strings.ReplaceAll(flags, noise, strings.Repeat(" ", len(noise))))
}
