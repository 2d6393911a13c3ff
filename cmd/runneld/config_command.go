package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/runnel/runnel/cmd/usage"
)

const daemonHelp = `The Runnel daemon: opens payment channels with peers, pays and is paid through
them, and settles on the Bitcoin chain. ` + "`runnel`" + ` talks to it.

Every setting is a flag, an environment variable and a key in the TOML file that
--config names; the first of these that has it wins. --btcd.rpc-user is
RUNNEL_BTCD_RPC_USER, and in the file

  network = "regtest"
  [btcd]
  rpc-user = "runnel"
  rpc-pass-file = "~/.runnel/btcd.pass"

Passwords are only ever read from files that others can't read. SIGHUP reads
the file again and applies log-level and limits; the rest needs a restart.
Amounts carry a unit: 100_000sat, 0.001btc.

For now it runs on simnet and regtest only: on the other networks the seed must
be sealed with a passphrase, which comes with a later version.`

const daemonExample = `  runneld --network regtest --btcd.rpc-user runnel --btcd.rpc-pass-file pass
  runneld --config /etc/runnel/runneld.toml
  runneld check-config --config /etc/runnel/runneld.toml`

// errUsage is a command line, environment or file that makes no sense; it was told already.
var errUsage = errors.New("wrong settings")

// newCommand is the command line of the daemon. run gets settings that were validated.
func newCommand(run func(ctx context.Context, s *Settings) error) *cobra.Command {
	root := &cobra.Command{
		Use:           "runneld [COMMAND]",
		Short:         "The Runnel daemon",
		Long:          daemonHelp,
		Example:       daemonExample,
		Args:          noArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := Load(cmd.Flags())
			if err != nil {
				return tell(cmd.ErrOrStderr(), err)
			}
			return run(cmd.Context(), s)
		},
	}
	root.SetUsageFunc(usage.Print)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return tell(cmd.ErrOrStderr(), Problems{{Text: err.Error(), Hint: "`runneld --help` lists the settings"}})
	})
	addFlags(root.PersistentFlags())
	for _, s := range settings() {
		root.RegisterFlagCompletionFunc(s.key, completeSetting(s.key))
	}
	root.AddCommand(checkCommand(), rebuildCommand(), restoreCommand())
	return root
}

func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return tell(cmd.ErrOrStderr(), Problems{{Text: fmt.Sprintf("%q is no command", args[0]), Hint: "`runneld --help` shows what there is"}})
}

func checkCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "check-config",
		Short:   "Print the settings as they take effect, and all that is wrong",
		Example: "  runneld check-config --config /etc/runnel/runneld.toml",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := Load(cmd.Flags())
			if s != nil {
				printSettings(cmd.OutOrStdout(), s)
			}
			if err != nil {
				return tell(cmd.ErrOrStderr(), err)
			}
			fmt.Fprintln(cmd.OutOrStdout(), "\nThese settings are right.")
			return nil
		},
	}
}

// printSettings shows what is set, and from where. There is no secret among settings, only paths of
// files that hold them.
func printSettings(w io.Writer, s *Settings) {
	key, value := len("SETTING"), len("VALUE")
	effects := slices.DeleteFunc(slices.Clone(s.Effect), func(e Effect) bool { return ofOtherBackend(e.Key, s.Config.Chain) })
	for _, e := range effects {
		key, value = max(key, len(e.Key)), max(value, min(len(e.Value), 36))
	}
	fmt.Fprintf(w, "%-*s  %-*s  %s\n", key, "SETTING", value, "VALUE", "FROM")
	for _, e := range effects {
		if e.Source == "" {
			e.Value, e.Source = "-", "-"
		}
		source := e.Source
		if strings.HasPrefix(source, envPrefix) {
			source = "environment"
		}
		for i, v := range strings.Split(e.Value, ",") {
			if i > 0 {
				e.Key, source = "", ""
			}
			fmt.Fprintln(w, strings.TrimRight(fmt.Sprintf("%-*s  %-*s  %s", key, e.Key, value, v, source), " "))
		}
	}
	for _, warning := range s.Warnings {
		fmt.Fprintf(w, "\nwarning: %s\n", warning)
	}
}

// ofOtherBackend reports whether a setting is about a backend that is not used.
func ofOtherBackend(key, chain string) bool {
	section, _, ok := strings.Cut(key, ".")
	return ok && section != chain && slices.Contains(backends(), chain)
}

// tell writes every problem with what to do about it, and returns errUsage.
func tell(w io.Writer, err error) error {
	var all Problems
	if !errors.As(err, &all) {
		all = Problems{{Text: err.Error()}}
	}
	for _, p := range all {
		fmt.Fprintf(w, "error: %s\n", p)
		if p.Hint != "" {
			fmt.Fprintf(w, "hint: %s\n", p.Hint)
		}
	}
	return errUsage
}

// completeSetting offers the values of a setting that has few.
func completeSetting(key string) func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	words, ok := choices()[key]
	if !ok {
		return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			if strings.HasSuffix(key, "-file") || strings.HasSuffix(key, "-cert") || key == "data-dir" || key == "bitcoind.cookie" {
				return nil, cobra.ShellCompDirectiveDefault
			}
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
	}
	return cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)
}
