//! Puts every mutant into a source file, each behind a question: `if crate::mutant::on(17) { mutated } else { as it was }`.
//!
//! Only one is on at a time, so the mutated branch holds the code as it was, but for the one change.

use quote::{ToTokens, quote};
use syn::visit_mut::{self, VisitMut};
use syn::{
    Attribute, BinOp, Block, Expr, ImplItemFn, ItemFn, ItemImpl, ItemMod, Pat, ReturnType,
    Signature, Stmt, TraitItemFn, Type, UnOp, parse_quote,
};

/// One change that could be a mistake.
pub struct Mutant {
    pub id: usize,
    pub file: String,
    pub function: String,
    pub change: String,
    /// It is no change, as a body that does nothing and is to do nothing.
    pub is_none: bool,
}

/// Plants mutants, numbered on from those that are in `mutants`; those that `is_banned` do not compile, and keep their numbers.
pub struct Planter<'a> {
    pub file: String,
    pub mutants: &'a mut Vec<Mutant>,
    pub is_banned: &'a dyn Fn(usize) -> bool,
    pub function: String,
}

impl Planter<'_> {
    /// The number of a new mutant, unless it is banned.
    fn plant(&mut self, change: String) -> Option<usize> {
        let id = self.mutants.len();
        self.mutants.push(Mutant {
            id,
            file: self.file.clone(),
            function: self.function.clone(),
            change,
            is_none: false,
        });
        (!(self.is_banned)(id)).then_some(id)
    }

    /// Replaces the body by each of the values that its type suggests.
    fn function(&mut self, attributes: &[Attribute], signature: &Signature, block: &mut Block) {
        if is_left_out(attributes) || signature.constness.is_some() {
            return;
        }
        let name = format!("{}::{}", self.function, signature.ident);
        let outer = std::mem::replace(&mut self.function, name);
        let values = values(&signature.output);
        let before = block.clone();
        visit_mut::visit_block_mut(self, block);
        for value in values {
            let text = value.to_token_stream().to_string();
            let planted = self.plant(format!("the body is {text}"));
            if is_body(&before, &text) {
                self.mutants.last_mut().expect("planted").is_none = true;
            } else if let Some(id) = planted {
                let early: Stmt = parse_quote!(if crate::mutant::on(#id) { return #value; });
                block.stmts.insert(0, early);
            }
        }
        self.function = outer;
    }

    /// `expression` becomes the choice between `mutated` and itself.
    fn choose(&mut self, expression: &mut Expr, mutated: &Expr, change: String) {
        if let Some(id) = self.plant(change) {
            *expression =
                parse_quote!((if crate::mutant::on(#id) { #mutated } else { #expression }));
        }
    }
}

/// Tests, models, and what only debug builds check.
fn is_left_out(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let text = attribute.to_token_stream().to_string();
        attribute.path().is_ident("test")
            || (attribute.path().is_ident("cfg")
                && ["test", "rp_", "debug_assertions"]
                    .iter()
                    .any(|word| text.contains(word)))
    })
}

/// Does the body do nothing but return this? Unused arguments may be named.
fn is_body(block: &Block, value: &str) -> bool {
    let is_underscore =
        |stmt: &Stmt| matches!(stmt, Stmt::Local(local) if matches!(local.pat, Pat::Wild(_)));
    match &block.stmts[..] {
        [Stmt::Expr(only, None)] => only.to_token_stream().to_string() == value,
        all => value == "()" && all.iter().all(is_underscore),
    }
}

/// What a function may return instead.
fn values(output: &ReturnType) -> Vec<Expr> {
    let ReturnType::Type(_, kind) = output else {
        return vec![parse_quote!(())];
    };
    match &**kind {
        Type::Tuple(tuple) if tuple.elems.is_empty() => vec![parse_quote!(())],
        Type::ImplTrait(_) | Type::Never(_) | Type::Reference(_) => Vec::new(),
        Type::Path(path) => {
            let last = path
                .path
                .segments
                .last()
                .map(|last| last.ident.to_string())
                .unwrap_or_default();
            match last.as_str() {
                "bool" => vec![parse_quote!(true), parse_quote!(false)],
                "usize" | "u64" | "u32" | "isize" | "i64" | "i32" | "Nanos" => {
                    vec![parse_quote!(0), parse_quote!(1)]
                }
                "Option" => vec![parse_quote!(None)],
                "Result" => vec![parse_quote!(Ok(Default::default()))],
                "String" => vec![parse_quote!(String::new()), parse_quote!("xyzzy".into())],
                _ => vec![parse_quote!(Default::default())],
            }
        }
        _ => vec![parse_quote!(Default::default())],
    }
}

/// The operators that may be meant instead.
fn instead(operator: &BinOp) -> Vec<BinOp> {
    match operator {
        BinOp::Eq(_) => vec![parse_quote!(!=)],
        BinOp::Ne(_) => vec![parse_quote!(==)],
        BinOp::Lt(_) => vec![parse_quote!(<=), parse_quote!(>)],
        BinOp::Le(_) => vec![parse_quote!(<), parse_quote!(>)],
        BinOp::Gt(_) => vec![parse_quote!(>=), parse_quote!(<)],
        BinOp::Ge(_) => vec![parse_quote!(>), parse_quote!(<)],
        BinOp::And(_) => vec![parse_quote!(||)],
        BinOp::Or(_) => vec![parse_quote!(&&)],
        BinOp::Add(_) => vec![parse_quote!(-), parse_quote!(*)],
        BinOp::Sub(_) => vec![parse_quote!(+), parse_quote!(/)],
        BinOp::Mul(_) => vec![parse_quote!(+), parse_quote!(/)],
        BinOp::Div(_) => vec![parse_quote!(*), parse_quote!(%)],
        BinOp::Rem(_) => vec![parse_quote!(/), parse_quote!(+)],
        BinOp::BitAnd(_) => vec![parse_quote!(|), parse_quote!(^)],
        BinOp::BitOr(_) => vec![parse_quote!(&), parse_quote!(^)],
        BinOp::BitXor(_) => vec![parse_quote!(|), parse_quote!(&)],
        BinOp::Shl(_) => vec![parse_quote!(>>)],
        BinOp::Shr(_) => vec![parse_quote!(<<)],
        BinOp::AddAssign(_) => vec![parse_quote!(-=), parse_quote!(*=)],
        BinOp::SubAssign(_) => vec![parse_quote!(+=), parse_quote!(/=)],
        BinOp::MulAssign(_) => vec![parse_quote!(+=)],
        BinOp::BitOrAssign(_) => vec![parse_quote!(&=)],
        BinOp::BitAndAssign(_) => vec![parse_quote!(|=)],
        _ => Vec::new(),
    }
}

/// `if let … && …` cannot be chosen from.
fn has_let(expression: &Expr) -> bool {
    match expression {
        Expr::Let(_) => true,
        Expr::Binary(binary) => has_let(&binary.left) || has_let(&binary.right),
        Expr::Paren(paren) => has_let(&paren.expr),
        _ => false,
    }
}

impl VisitMut for Planter<'_> {
    fn visit_item_mod_mut(&mut self, module: &mut ItemMod) {
        if !is_left_out(&module.attrs) {
            visit_mut::visit_item_mod_mut(self, module);
        }
    }

    fn visit_item_impl_mut(&mut self, block: &mut ItemImpl) {
        let name = block
            .trait_
            .as_ref()
            .and_then(|(_, path, _)| Some(path.segments.last()?.ident.to_string()));
        if is_left_out(&block.attrs) || matches!(name.as_deref(), Some("Debug" | "Default")) {
            return;
        }
        let owner = block.self_ty.to_token_stream().to_string();
        let owner = owner
            .split('<')
            .next()
            .unwrap_or_default()
            .trim()
            .to_owned();
        let outer = std::mem::replace(&mut self.function, owner);
        visit_mut::visit_item_impl_mut(self, block);
        self.function = outer;
    }

    fn visit_item_fn_mut(&mut self, function: &mut ItemFn) {
        self.function(&function.attrs, &function.sig, &mut function.block);
    }

    fn visit_impl_item_fn_mut(&mut self, function: &mut ImplItemFn) {
        self.function(&function.attrs, &function.sig, &mut function.block);
    }

    fn visit_trait_item_fn_mut(&mut self, function: &mut TraitItemFn) {
        if let Some(block) = &mut function.default {
            self.function(&function.attrs, &function.sig, block);
        }
    }

    fn visit_item_const_mut(&mut self, _: &mut syn::ItemConst) {}
    fn visit_item_static_mut(&mut self, _: &mut syn::ItemStatic) {}
    fn visit_impl_item_const_mut(&mut self, _: &mut syn::ImplItemConst) {}
    fn visit_type_mut(&mut self, _: &mut Type) {}
    fn visit_pat_mut(&mut self, _: &mut Pat) {}
    fn visit_expr_const_mut(&mut self, _: &mut syn::ExprConst) {}
    fn visit_expr_repeat_mut(&mut self, repeat: &mut syn::ExprRepeat) {
        self.visit_expr_mut(&mut repeat.expr);
    }

    fn visit_expr_match_mut(&mut self, chosen: &mut syn::ExprMatch) {
        let catches_all = |pat: &Pat| matches!(pat, Pat::Wild(_));
        let has_rest = chosen
            .arms
            .iter()
            .any(|arm| catches_all(&arm.pat) && arm.guard.is_none());
        let before: Vec<_> = chosen.arms.iter().map(|arm| arm.guard.clone()).collect();
        visit_mut::visit_expr_match_mut(self, chosen);
        for (arm, before) in chosen.arms.iter_mut().zip(before) {
            let pattern = arm.pat.to_token_stream().to_string();
            if let (Some((_, guard)), Some((_, old))) = (&mut arm.guard, before)
                && !has_let(&old)
            {
                for value in [true, false] {
                    let mutated = parse_quote!(#value);
                    let text = old.to_token_stream();
                    self.choose(
                        guard,
                        &mutated,
                        format!("the guard {text} of {pattern} is {value}"),
                    );
                }
            }
            if has_rest
                && !(catches_all(&arm.pat) && arm.guard.is_none())
                && arm.guard.as_ref().is_none_or(|(_, guard)| !has_let(guard))
                && let Some(id) = self.plant(format!("without the arm {pattern}"))
            {
                let guard = match &arm.guard {
                    None => parse_quote!(!crate::mutant::on(#id)),
                    Some((_, guard)) => parse_quote!(!crate::mutant::on(#id) && #guard),
                };
                arm.guard = Some((parse_quote!(if), Box::new(guard)));
            }
        }
    }

    fn visit_expr_mut(&mut self, expression: &mut Expr) {
        let before = expression.clone();
        visit_mut::visit_expr_mut(self, expression);
        match &before {
            Expr::Binary(binary) if !has_let(&before) => {
                for operator in instead(&binary.op) {
                    let mut mutated = binary.clone();
                    mutated.op = operator;
                    let text = quote!(#before).to_string();
                    let (old, new) = (binary.op.to_token_stream(), mutated.op.to_token_stream());
                    let change = format!("{old} is {new} in {text}");
                    self.choose(expression, &Expr::Binary(mutated), change);
                }
            }
            Expr::Unary(unary) if matches!(unary.op, UnOp::Not(_) | UnOp::Neg(_)) => {
                let text = quote!(#before).to_string();
                self.choose(
                    expression,
                    &unary.expr,
                    format!("without the sign of {text}"),
                );
            }
            _ => {}
        }
    }
}
