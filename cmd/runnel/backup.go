package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/runnel/runnel/channel"
	"github.com/runnel/runnel/cmd/home"
	"github.com/runnel/runnel/cmd/sandbox"
	"github.com/runnel/runnel/cmd/wholefile"
)

const backupHelp = `Write what the daemon can't make again from its seed into FILE: its channels
with their newest vouchers, addresses of peers, the budget. The daemon goes on.

The file is encrypted with a key from the seed, so it is of no use without the
seed, which is not in it: keep a copy of seed.json as well, in another place.

A backup is old the moment the next payment is made. As payer nothing is lost
by that; as payee, what was received after it is had only if the payer hands
it back: make one often.`

func backupCommand(a *app) *cobra.Command {
	var force bool
	c := &cobra.Command{
		Use:               "backup FILE",
		Short:             "Copy what the seed alone can't bring back, encrypted",
		Long:              backupHelp,
		Example:           "  runnel backup /media/usb/runnel-$(date +%F).backup",
		Args:              takes(1, 1),
		ValidArgsFunction: fileCompletion,
		RunE: a.verb(func(c *call) error {
			path, err := filepath.Abs(c.args[0])
			if err != nil {
				return err
			}
			if _, err := os.Lstat(path); err == nil && !force {
				return existing(path)
			}
			b, err := c.node.Backup(c.ctx)
			if err != nil {
				return err
			}
			if err := wholefile.Write(path, b.Data, force); errors.Is(err, wholefile.ErrExists) {
				return existing(path)
			} else if err != nil {
				return &hinted{err, "nothing was written; choose a place that this user may write to and that has room"}
			}
			return c.show(viewBackup(path, b), func(u *ui) {
				u.line("%s", path)
				u.line("%s, %s bytes, encrypted with the seed", plural(b.Channels, "channel", "channels"), count(len(b.Data)))
			})
		}),
	}
	c.Flags().BoolVar(&force, "force", false, "replace a file that is there")
	return c
}

func existing(path string) error {
	return usage("choose another name, or replace it with --force", "%s exists already", path)
}

func fileCompletion(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveDefault
}

type backupView struct {
	File     string `json:"file"`
	Bytes    int    `json:"bytes"`
	Channels int    `json:"channels"`
	Made     int64  `json:"made"`
}

func viewBackup(path string, b channel.Backup) backupView {
	return backupView{path, len(b.Data), b.Channels, time.Unix(b.Made, 0).Unix()}
}

const restoreHelp = `Make the database of a lost node again from a backup: this runs
` + "`runneld restore`" + `, whose help has the details. The daemon must not run, its
data directory must hold the seed and no database.
--from names the replica of a daemon that had --replica.`

func restoreCommand(a *app) *cobra.Command {
	var from string
	c := &cobra.Command{
		Use:               "restore FILE | --from DIR",
		Short:             "Make a lost node's database again from a backup or a replica",
		Long:              restoreHelp,
		Example:           "  runnel restore runnel-2026-03-01.backup --network signet",
		Args:              takes(0, 1),
		ValidArgsFunction: fileCompletion,
		RunE: a.local(func(c *call) error {
			if (len(c.args) == 1) == (from != "") {
				return usage("such as: runnel restore runnel.backup --network signet", "restore takes one FILE, or a replica with --from DIR")
			}
			args, err := a.restoreArgs(append(c.args, "--from="+from)[:1])
			if err != nil {
				return err
			}
			program, err := sandbox.Find("", "runneld")
			if err != nil {
				return err
			}
			cmd := exec.CommandContext(c.ctx, program, args...)
			cmd.Stdout, cmd.Stderr = a.out, a.err
			err = cmd.Run()
			var exit *exec.ExitError
			if errors.As(err, &exit) {
				return &told{exit.ExitCode()}
			}
			return err
		}),
	}
	c.Flags().StringVar(&from, "from", "", "restore from the replica in `DIR`, which runneld's --replica named")
	return c
}

// restoreArgs hands the selection of a node on, as the place of its data.
func (a *app) restoreArgs(source []string) ([]string, error) {
	s := a.selection()
	if s.Network == "" {
		return nil, usage("add --network NETWORK", "a restore needs to know the network")
	}
	args := append([]string{"restore"}, append(source, "--network", s.Network)...)
	if s.Node != "" && s.Node != s.Network && s.DataDir == "" {
		h, err := home.Locate(a.getenv)
		if err != nil {
			return nil, err
		}
		s.DataDir = filepath.Join(h.DataDir(s.Network), s.Node)
	}
	if s.DataDir != "" {
		args = append(args, "--data-dir", s.DataDir)
	}
	if a.json {
		args = append(args, "--json")
	}
	return args, nil
}

// told is the failure of a program that has said itself what was wrong.
type told struct{ exit int }

func (e *told) Error() string { return "restoring failed" }
