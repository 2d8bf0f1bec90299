// Text that grows: what stands already stays as it is, so that a selection in it is kept.

/** Make `shown` hold what `html` says, cleaned by the server; this page's policy runs no script. `refine`
    changes it before that, each time in the same way. */
export function grow(shown, html, refine = () => {}) {
  const wanted = document.createElement("template");
  wanted.innerHTML = html;
  refine(wanted.content);
  become(shown, wanted.content);
}

function become(old, wanted) {
  const after = [...wanted.childNodes];
  while (old.childNodes.length > after.length) old.lastChild.remove();
  after.forEach((node, number) => {
    const there = old.childNodes[number];
    if (!there) old.append(node);
    else if (there.isEqualNode(node)) return;
    else if (there.nodeType === Node.TEXT_NODE && node.nodeType === Node.TEXT_NODE) write(there, node.data);
    else if (there.nodeName === node.nodeName && alike(there, node)) become(there, node);
    else there.replaceWith(node);
  });
}

function write(there, text) {
  if (text.startsWith(there.data)) there.appendData(text.slice(there.data.length));
  else there.data = text;
}

function alike(one, other) {
  return one.cloneNode(false).isEqualNode(other.cloneNode(false));
}
