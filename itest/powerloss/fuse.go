//go:build linux

package powerloss

import (
	"context"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// Mount shows the disk at an empty directory. The data always goes through this process.
func (d *Disk) Mount(dir string) (*fuse.Server, error) {
	second := time.Second
	return fs.Mount(dir, &inode{d: d, n: d.root}, &fs.Options{
		AttrTimeout: &second, EntryTimeout: &second,
		MountOptions: fuse.MountOptions{DirectMount: true, DisableXAttrs: true, FsName: "powerloss", Name: "powerloss", MaxWrite: 1 << 20},
	})
}

// inode is a node as the kernel knows it.
type inode struct {
	fs.Inode
	d *Disk
	n *node
}

var (
	_ fs.NodeLookuper  = (*inode)(nil)
	_ fs.NodeReaddirer = (*inode)(nil)
	_ fs.NodeGetattrer = (*inode)(nil)
	_ fs.NodeSetattrer = (*inode)(nil)
	_ fs.NodeCreater   = (*inode)(nil)
	_ fs.NodeMkdirer   = (*inode)(nil)
	_ fs.NodeMknoder   = (*inode)(nil)
	_ fs.NodeOpener    = (*inode)(nil)
	_ fs.NodeReader    = (*inode)(nil)
	_ fs.NodeWriter    = (*inode)(nil)
	_ fs.NodeFsyncer   = (*inode)(nil)
	_ fs.NodeAllocater = (*inode)(nil)
	_ fs.NodeUnlinker  = (*inode)(nil)
	_ fs.NodeRmdirer   = (*inode)(nil)
	_ fs.NodeRenamer   = (*inode)(nil)
	_ fs.NodeStatfser  = (*inode)(nil)
)

func (i *inode) child(ctx context.Context, n *node) *fs.Inode {
	return i.NewInode(ctx, &inode{d: i.d, n: n}, fs.StableAttr{Mode: n.mode & syscall.S_IFMT, Ino: n.ino})
}

func (n *node) attr(out *fuse.Attr) {
	out.Ino, out.Mode, out.Size, out.Nlink = n.ino, n.mode, uint64(len(n.live)), 1
	out.Blocks, out.Blksize = uint64(len(n.live)+sector-1)/sector, page
}

func (i *inode) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	i.d.mu.Lock()
	defer i.d.mu.Unlock()
	n := i.n.entries[name]
	if n == nil {
		return nil, syscall.ENOENT
	}
	n.attr(&out.Attr)
	return i.child(ctx, n), 0
}

func (i *inode) Readdir(context.Context) (fs.DirStream, syscall.Errno) {
	i.d.mu.Lock()
	defer i.d.mu.Unlock()
	var list []fuse.DirEntry
	for name, n := range i.n.entries {
		list = append(list, fuse.DirEntry{Name: name, Mode: n.mode, Ino: n.ino})
	}
	return fs.NewListDirStream(list), 0
}

func (i *inode) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	i.d.mu.Lock()
	defer i.d.mu.Unlock()
	i.n.attr(&out.Attr)
	return 0
}

func (i *inode) Setattr(_ context.Context, _ fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	i.d.mu.Lock()
	defer i.d.mu.Unlock()
	if size, ok := in.GetSize(); ok {
		if errno := i.d.step(); errno != 0 {
			return errno
		}
		i.n.truncate(int(size))
	}
	if mode, ok := in.GetMode(); ok {
		i.n.mode = i.n.mode&syscall.S_IFMT | mode&0o7777
	}
	i.n.attr(&out.Attr)
	return 0
}

// add makes an entry for a new node.
func (i *inode) add(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	i.d.mu.Lock()
	defer i.d.mu.Unlock()
	if i.n.entries[name] != nil {
		return nil, syscall.EEXIST
	}
	if errno := i.d.step(); errno != 0 {
		return nil, errno
	}
	n := i.d.newNode(mode)
	i.n.change(func(m map[string]*node) { m[name] = n })
	n.attr(&out.Attr)
	return i.child(ctx, n), 0
}

func (i *inode) Create(ctx context.Context, name string, _, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	child, errno := i.add(ctx, name, syscall.S_IFREG|mode&0o7777, out)
	return child, nil, 0, errno
}

func (i *inode) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	return i.add(ctx, name, syscall.S_IFDIR|mode&0o7777, out)
}

func (i *inode) Mknod(ctx context.Context, name string, mode, _ uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	return i.add(ctx, name, mode, out)
}

func (i *inode) Open(_ context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	i.d.mu.Lock()
	defer i.d.mu.Unlock()
	if flags&syscall.O_TRUNC != 0 {
		if errno := i.d.step(); errno != 0 {
			return nil, 0, errno
		}
		i.n.truncate(0)
	}
	return nil, 0, 0
}

func (i *inode) Read(_ context.Context, _ fs.FileHandle, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	i.d.mu.Lock()
	defer i.d.mu.Unlock()
	if off >= int64(len(i.n.live)) {
		return fuse.ReadResultData(nil), 0
	}
	n := copy(dest, i.n.live[off:])
	return fuse.ReadResultData(dest[:n]), 0
}

func (i *inode) Write(_ context.Context, _ fs.FileHandle, data []byte, off int64) (uint32, syscall.Errno) {
	i.d.mu.Lock()
	defer i.d.mu.Unlock()
	if errno := i.d.step(); errno != 0 || len(data) == 0 {
		return 0, errno
	}
	i.n.writeAt(data, int(off))
	return uint32(len(data)), 0
}

func (i *inode) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	i.d.mu.Lock()
	defer i.d.mu.Unlock()
	if errno := i.d.step(); errno != 0 {
		return errno
	}
	i.n.sync()
	i.d.root.syncNames()
	return 0
}

func (i *inode) Allocate(_ context.Context, _ fs.FileHandle, off, size uint64, mode uint32) syscall.Errno {
	const keepSize = 1
	i.d.mu.Lock()
	defer i.d.mu.Unlock()
	if mode&^keepSize != 0 {
		return syscall.ENOTSUP
	}
	if errno := i.d.step(); errno != 0 {
		return errno
	}
	if end := int(off + size); mode == 0 && end > len(i.n.live) {
		i.n.truncate(end)
	}
	return 0
}

func (i *inode) remove(name string) syscall.Errno {
	i.d.mu.Lock()
	defer i.d.mu.Unlock()
	n := i.n.entries[name]
	switch {
	case n == nil:
		return syscall.ENOENT
	case len(n.entries) > 0:
		return syscall.ENOTEMPTY
	}
	if errno := i.d.step(); errno != 0 {
		return errno
	}
	i.n.change(func(m map[string]*node) { delete(m, name) })
	return 0
}

func (i *inode) Unlink(_ context.Context, name string) syscall.Errno { return i.remove(name) }
func (i *inode) Rmdir(_ context.Context, name string) syscall.Errno  { return i.remove(name) }

// Rename to another directory is two changes, of which a cut may leave one: what must survive stays in one
// directory.
func (i *inode) Rename(_ context.Context, name string, parent fs.InodeEmbedder, to string, flags uint32) syscall.Errno {
	i.d.mu.Lock()
	defer i.d.mu.Unlock()
	n, other := i.n.entries[name], parent.(*inode).n
	switch {
	case flags != 0:
		return syscall.EINVAL
	case n == nil:
		return syscall.ENOENT
	}
	if errno := i.d.step(); errno != 0 {
		return errno
	}
	if other == i.n {
		i.n.change(func(m map[string]*node) { delete(m, name); m[to] = n })
		return 0
	}
	other.change(func(m map[string]*node) { m[to] = n })
	i.n.change(func(m map[string]*node) { delete(m, name) })
	return 0
}

func (i *inode) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno {
	out.Bsize, out.Frsize, out.NameLen = page, page, 255
	out.Blocks, out.Bfree, out.Bavail = 16<<20, 16<<20, 16<<20 // 64 GiB
	return 0
}
