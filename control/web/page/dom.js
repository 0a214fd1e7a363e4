// Nodes, made and kept up to date. Names come from a configuration and from
// servers: they are text here, never markup.

export const byId = (id) => document.getElementById(id);

export function make(name, className = "", ...children) {
  const node = document.createElement(name);
  if (className) {
    node.className = className;
  }
  node.append(...children);
  return node;
}

/** Sets the text of a node, and touches it only if that changes it. */
export function write(node, text) {
  if (node.textContent !== text) {
    node.textContent = text;
  }
}

/** Sets a property of a node likewise. */
export function set(node, key, value) {
  if (node[key] !== value) {
    node[key] = value;
  }
}

/** Sets an attribute of a node likewise. */
export function mark(node, key, value) {
  if (node.getAttribute(key) !== String(value)) {
    node.setAttribute(key, value);
  }
}

/** Makes these the children of a node, in this order, and moves none that stands right. */
export function arrange(parent, nodes) {
  const keep = new Set(nodes);
  for (const child of [...parent.children]) {
    if (!keep.has(child)) {
      child.remove();
    }
  }
  nodes.forEach((node, i) => {
    if (parent.children[i] !== node) {
      parent.insertBefore(node, parent.children[i] ?? null);
    }
  });
}

/** Makes the children of a node as many as there are items, and shows one in each. */
export function fill(parent, items, name, show) {
  while (parent.childElementCount > items.length) {
    parent.lastElementChild.remove();
  }
  while (parent.childElementCount < items.length) {
    parent.append(document.createElement(name));
  }
  items.forEach((item, i) => show(parent.children[i], item, i));
}

/** A button of words. */
export function button(text, className, pressed) {
  const node = make("button", className, text);
  node.type = "button";
  node.addEventListener("click", pressed);
  return node;
}

/** Terms and what they mean, in a list that stays. */
export function facts(list, pairs) {
  fill(list, pairs.flat(), "dt", (node, text) => write(node, text));
  [...list.children].forEach((node, i) => {
    if (i % 2 === 1 && node.localName === "dt") {
      node.replaceWith(make("dd", "", node.textContent));
    }
  });
}
