#!/bin/bash
# Git and Subversion: git daemon on 9418 and 19418, svnserve on 3690; git clones and pushes, svn checks out and commits.
PACKAGES="git subversion"
. "$(dirname "$0")/lib.sh"

host client 10.1.0.2/24 2001:db8:1::2/64
host server 198.51.100.94/24 2001:db8:2::94/64
export GIT_AUTHOR_NAME=alice GIT_AUTHOR_EMAIL=alice@example.com GIT_COMMITTER_NAME=alice GIT_COMMITTER_EMAIL=alice@example.com
git init -q --bare -b main repo/a.git
git init -q -b main work
seq 1000 >work/list
git -C work add list
git -C work commit -q -m 'add a list'
git -C work push -q $W/repo/a.git main
bg server git daemon --reuseaddr --base-path=$W/repo --export-all --enable=receive-pack
bg server git daemon --reuseaddr --base-path=$W/repo --export-all --port=19418
svnadmin create svn
printf '[general]\nanon-access = write\n' >svn/conf/svnserve.conf
bg server svnserve -d --foreground -r $W
wait_port server tcp 9418 19418 3690

capture pcap
on client git clone -q git://198.51.100.94/a.git a
on client git clone -q 'git://[2001:db8:2::94]:19418/a.git' b
cmp a/list work/list
git -C a commit -q --allow-empty -m 'say nothing'
on client git -C a push -q origin main
on client svn -q --non-interactive checkout svn://198.51.100.94/svn c
cp work/list c/list
svn -q add c/list
on client svn -q --non-interactive commit -m 'add a list' c
answer list client svn --non-interactive list svn://198.51.100.94/svn

truth 6 10.1.0.2 '*' 198.51.100.94 9418 Git -
truth 6 2001:db8:1::2 '*' 2001:db8:2::94 19418 Git -
truth 6 10.1.0.2 '*' 198.51.100.94 3690 SVN -
expect 2 'tcp.port == 9418 and tcp.payload contains "git-"'
expect 2 'tcp.port == 3690 and tcp.payload contains "edit-pipeline"'
finish
